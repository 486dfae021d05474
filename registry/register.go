package registry

import (
	"context"
	"encoding/json"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/intake"
)

// Entry is what became of one form that was entered by itself or in a list.
type Entry struct {
	Status   string        `json:"status" doc:"created, updated, linked, unchanged, parked, skipped or failed" class:"intake" mask:"drop"`
	Donors   []EntryDonor  `json:"donors" class:"intake" mask:"drop"`
	Problems []ProblemText `json:"problems" class:"intake" mask:"drop"`
}

// EntryDonor is a registration that a form made, or that its person has.
type EntryDonor struct {
	ID        uuid.UUID `json:"id" class:"registration" mask:"drop"`
	Number    string    `json:"number" class:"registration" mask:"drop"`
	Programme string    `json:"programme" class:"registration" mask:"drop"`
}

// EntryForm is a list of consent forms, entered by hand or sent by another system.
type EntryForm struct {
	Drive          uuid.UUID            `json:"drive,omitzero" doc:"The drive at which they were signed, if any."`
	AcceptWarnings bool                 `json:"accept_warnings,omitempty" doc:"The warnings were looked at: enter the forms all the same."`
	Forms          []forms.Registration `json:"forms" validate:"required,min=1,max=500"`
}

// Register takes consent forms straight into the register, each for itself: a faulty one does not stop the others. It is
// the way of a sheet, without the sheet. command makes a retry harmless: the same command gives the first result.
func (s *Store) Register(ctx context.Context, actor Actor, command string, f EntryForm) ([]Entry, error) {
	var out []Entry
	err := s.act(ctx, actor, "Register", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		a.repeats = true
		scope := batchScope{ID: newID(), Region: actor.region, Organisation: actor.organisation, Office: actor.region, Kind: "form", AcceptAll: f.AcceptWarnings}
		if len(f.Forms) > 1 {
			scope.Kind = "api"
		}
		var team []uuid.UUID
		circumstances := forms.Circumstances{Today: a.today(), Rules: a.book.For, Region: actor.region}
		if f.Drive != uuid.Nil {
			d, err := a.readDrive(ctx, f.Drive)
			if err != nil {
				return err
			}
			scope.Region, scope.Organisation, scope.Drive, team = d.Region, d.Organisation, &d.ID, d.record().team
			circumstances = a.circumstances(d)
		}
		if err := a.permitShown(policy.Write, policy.Identity, record{kind: "forms", id: scope.ID.String(), region: scope.Region, team: team}, len(f.Forms)); err != nil {
			return err
		}
		if len(f.Forms) == 0 || len(f.Forms) > 500 {
			return invalid(forms.Problems{{Code: "R120", Field: "forms", Args: map[string]any{"Bound": "≤", "Limit": 500}}})
		}
		entries, err := remembered(ctx, a, "register/"+actor.subject+"/"+command, func() ([]rememberedEntry, error) {
			return a.register(ctx, scope, circumstances, f.Forms)
		})
		if err != nil {
			return err
		}
		out = make([]Entry, len(entries))
		for i, e := range entries {
			out[i] = Entry{Status: e.Status, Donors: e.Donors, Problems: ProblemTexts(e.Problems, actor.Locale)}
		}
		return nil
	})
	return out, err
}

// rememberedEntry is an Entry as the command log keeps it: with codes for sentences.
type rememberedEntry struct {
	Status   string         `json:"status"`
	Donors   []EntryDonor   `json:"donors"`
	Problems forms.Problems `json:"problems"`
}

func (a *act) register(ctx context.Context, scope batchScope, c forms.Circumstances, list []forms.Registration) ([]rememberedEntry, error) {
	number, err := a.number(ctx, "BT")
	if err != nil {
		return nil, err
	}
	scope.Number = number
	_, err = a.Exec(ctx, `
		INSERT INTO batches (id, number, drive_id, region, organisation_id, kind, file_sha256, status, rows_total, accept_warnings, mode, uploaded_by, committed_by, committed_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, 'committed', $8, $9, 'good_rows', $10, $10, $11)`,
		scope.ID, number, scope.Drive, string(scope.Region), scope.Organisation, scope.Kind, scope.ID[:], len(list), scope.AcceptAll, a.actor.staff, a.at)
	if err != nil {
		return nil, err
	}
	seen := map[string]int{}
	var staged staging
	for i := range list {
		form := &list[i]
		problems := form.Review(c)
		if len(problems.Blocking()) == 0 {
			person := string(form.DocumentKind) + "\x00" + form.DocumentNumber.Reveal()
			if first, twice := seen[person]; twice {
				problems = append(problems, forms.Problem{Code: "R110", Field: "document_number", Args: map[string]any{"Row": first}})
			} else {
				seen[person] = i + 1
			}
		}
		row := stagedRow{no: i + 1, key: []byte(form.Key()), verdict: string(intake.VerdictOf(problems)), problems: problems, raw: keptRow{Row: intake.Row{No: i + 1}}, form: form}
		if err := staged.add(a.Reader, scope.ID, row); err != nil {
			return nil, err
		}
	}
	if err := a.copyStaged(ctx, staged); err != nil {
		return nil, err
	}
	_, _, needed, err := a.nextRows(ctx, scope.ID, 1, len(list))
	if err != nil {
		return nil, err
	}
	first, err := a.numbers(ctx, scope, needed)
	if err != nil {
		return nil, err
	}
	outcomes, err := a.commitRows(ctx, scope, lane{1, len(list), first, a.today()})
	if err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(outcomes)
	if err != nil {
		return nil, err
	}
	if _, err := a.Exec(ctx, `UPDATE batches SET outcomes = $2, next_row = $3 WHERE id = $1`, scope.ID, encoded, len(list)+1); err != nil {
		return nil, err
	}
	return a.entriesOf(ctx, scope)
}

// entriesOf reads what became of the rows of a batch. A person whom another office registered is not shown to this one.
func (a *act) entriesOf(ctx context.Context, scope batchScope) ([]rememberedEntry, error) {
	lo, hi := scope.Office.Range()
	rows, err := a.Query(ctx, `
		SELECT r.outcome, r.problems, coalesce((
			SELECT jsonb_agg(jsonb_build_object('id', g.id, 'number', g.number, 'programme', g.programme) ORDER BY g.id) FROM registrations g
			WHERE r.outcome IN ('created', 'updated', 'linked', 'unchanged') AND g.person_id = r.person_id AND g.programme = ANY(r.programmes)
				AND g.status NOT IN ('withdrawn', 'left', 'undone') AND (g.batch_id = r.batch_id OR g.region >= $2 AND g.region < $3)), '[]')
		FROM batch_rows r WHERE r.batch_id = $1 ORDER BY r.row_no`, scope.ID, lo, hi)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (e rememberedEntry, err error) {
		return e, row.Scan(&e.Status, &e.Problems, &e.Donors)
	})
}
