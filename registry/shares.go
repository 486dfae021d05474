package registry

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
)

// A donor who moved, or is to be followed up or have a sample drawn elsewhere, is shared with the Red Cross office there for a
// time. The donor's own office goes on answering for them: the other one reads, and may call the donor.

// ShareForm shares a donor with another office.
type ShareForm struct {
	Organisation uuid.UUID `json:"organisation" validate:"required" doc:"A Red Cross office."`
	Reason       string    `json:"reason" validate:"required,oneof=moved follow_up confirmatory_sample physical_examination collection" doc:"What is to be done there."`
	Until        time.Time `json:"until" validate:"required" doc:"At most as far off as the rule access.share says."`
}

// ShareView is a donor's share with an organisation.
type ShareView struct {
	ID           uuid.UUID  `json:"id" class:"registration" mask:"drop"`
	Organisation uuid.UUID  `json:"organisation" class:"registration" mask:"drop"`
	Reason       string     `json:"reason" class:"registration" mask:"drop"`
	SharedAt     time.Time  `json:"shared_at" class:"registration" mask:"drop"`
	Until        time.Time  `json:"until" class:"registration" mask:"drop"`
	EndedAt      *time.Time `json:"ended_at,omitempty" doc:"When it was ended before its time." class:"registration" mask:"drop"`
}

// ShareDonor shares a donor with another office until an instant. It takes the place of what is shared with that office already.
//
// Errors: Refused when the organisation is none that donors are shared with, when the time is too long, when the donor is gone.
func (s *Store) ShareDonor(ctx context.Context, actor Actor, id uuid.UUID, f ShareForm) (ShareView, error) {
	var v ShareView
	err := s.act(ctx, actor, "ShareDonor", policy.ForCase, func(ctx context.Context, a *act) error {
		// Locked, so that nobody asks for the donor between the look at who sits at the table and the share.
		row, err := a.permitShare(ctx, id)
		if err != nil {
			return err
		}
		last := &a.entries[len(a.entries)-1]
		last.Reason, last.Fields = f.Reason, "organisation="+f.Organisation.String()
		problems := forms.Check(f)
		if len(problems) == 0 && !f.Until.After(a.now()) {
			problems = forms.Problems{{Code: "R139", Field: "until"}}
		}
		if len(problems) > 0 {
			return invalid(problems)
		}
		longest := a.rules(row.Region).Span(rules.AccessShare)
		latest := longest.On(a.today(), nil).AddDays(1).Start(Zone)
		switch {
		case row.Status == "withdrawn" || row.Status == "left" || row.Status == "undone":
			return refused("donor_gone")
		case f.Until.After(latest):
			return refused("share_too_long", "Days", longest.N, "Latest", clockTime(latest))
		}
		region, err := a.takesShares(ctx, f.Organisation)
		if err != nil {
			return err
		}
		v = ShareView{ID: newID(), Organisation: f.Organisation, Reason: f.Reason, SharedAt: a.at.Truncate(time.Microsecond), Until: f.Until}
		_, err = a.Exec(ctx, `
			WITH before AS (UPDATE shares SET ended_at = $6, ended_by = $5 WHERE registration_id = $2 AND organisation_id = $3 AND until > $6 AND ended_at IS NULL)
			INSERT INTO shares (id, registration_id, organisation_id, reason, shared_by, shared_at, until, region) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			v.ID, id, f.Organisation, f.Reason, a.actor.staff, v.SharedAt, f.Until, string(row.Region))
		if err != nil {
			return err
		}
		a.tell(notice{code: "donor.shared", args: map[string]any{"Number": row.Number, "Donor": id.String(), "Until": clockTime(f.Until), "Reason": f.Reason},
			organisation: f.Organisation, region: region, dedupe: "donor.shared/" + v.ID.String()})
		return nil
	})
	return v, err
}

// permitShare permits sharing a donor, and ending it: whoever answers for the donor by place. Whom a donor is shared with does not
// share them further.
func (a *act) permitShare(ctx context.Context, id uuid.UUID) (registrationRow, error) {
	row, err := a.readRegistration(ctx, id, "FOR UPDATE")
	if err != nil {
		return row, err
	}
	rec := row.record()
	if err := a.standingsOf(ctx, &rec, id); err != nil {
		return row, err
	}
	return row, a.permit(policy.Decide, policy.Registration, rec)
}

// takesShares finds where an office lies that a donor can be shared with: a Red Cross office that does not work for patients and never did.
// It is the same for every donor and whoever asks: the answer must not tell where a patient is.
func (a *act) takesShares(ctx context.Context, organisation uuid.UUID) (identity.Region, error) {
	var region identity.Region
	var takes bool
	err := a.QueryRow(ctx, `SELECT region, kind = 'red_cross' AND active AND NOT works_for_patients(id) FROM organisations WHERE id = $1`, organisation).Scan(&region, &takes)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return "", missing("organisation")
	case err == nil && !takes:
		return "", refused("share_not_office")
	}
	return region, err
}

// EndShare ends a share before its time. Ending what has ended changes nothing.
func (s *Store) EndShare(ctx context.Context, actor Actor, donor, id uuid.UUID) error {
	return s.act(ctx, actor, "EndShare", policy.ForCase, func(ctx context.Context, a *act) error {
		row, err := a.permitShare(ctx, donor)
		if err != nil {
			return err
		}
		var organisation uuid.UUID
		err = a.QueryRow(ctx, `SELECT organisation_id FROM shares WHERE id = $1 AND registration_id = $2`, id, donor).Scan(&organisation)
		if errors.Is(err, pgx.ErrNoRows) {
			return a.absent("share", id)
		}
		if err != nil {
			return err
		}
		a.entries[len(a.entries)-1].Fields = "organisation=" + organisation.String()
		return a.endShares(ctx, row, id)
	})
}

// endShares ends what is shared of a donor now, or one share of it, and tells those whom it was shared with.
func (a *act) endShares(ctx context.Context, row registrationRow, only uuid.UUID) error {
	rows, err := a.Query(ctx, `
		UPDATE shares s SET ended_at = $2, ended_by = $3 FROM organisations o
		WHERE o.id = s.organisation_id AND s.registration_id = $1 AND ($4::uuid IS NULL OR s.id = $4) AND s.until > $2 AND s.ended_at IS NULL
		RETURNING s.id, o.id, o.region`, row.ID, a.at, null(a.actor.staff), null(only))
	if err != nil {
		return err
	}
	var id, organisation uuid.UUID
	var region identity.Region
	_, err = pgx.ForEachRow(rows, []any{&id, &organisation, &region}, func() error {
		a.tell(notice{code: "donor.share_ended", args: map[string]any{"Number": row.Number}, organisation: organisation, region: region, dedupe: "donor.share_ended/" + id.String()})
		return nil
	})
	return err
}

// endSharesOfGone ends what is shared of a donor who has withdrawn or left, once no case is open any more for which it was kept.
func (a *act) endSharesOfGone(ctx context.Context, donor uuid.UUID) error {
	var row registrationRow
	err := a.QueryRow(ctx, `
		SELECT g.id, g.number FROM registrations g WHERE g.id = $1 AND g.status IN ('withdrawn', 'left', 'undone')
			AND NOT EXISTS (SELECT FROM cases c WHERE c.subject_id = g.id AND c.protocol <> 'enrolment' AND c.status = 'open')`, donor).Scan(&row.ID, &row.Number)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return a.endShares(ctx, row, uuid.Nil)
}

// ListShares tells with whom a donor is and was shared, the oldest first. Who does not share donors themselves is told of what is
// shared with their own office.
func (r *Reader) ListShares(ctx context.Context, actor Actor, donor, after uuid.UUID, limit int) ([]ShareView, error) {
	var out []ShareView
	err := r.act(ctx, actor, "ListShares", policy.ForCase, func(ctx context.Context, a *act) error {
		row, err := a.readRegistration(ctx, donor, "")
		if err != nil {
			return err
		}
		rec := row.record()
		if err := a.standingsOf(ctx, &rec, donor); err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Registration, rec); err != nil {
			return err
		}
		all, _ := a.may(policy.Decide, policy.Registration, rec)
		rows, err := a.Query(ctx, `
			SELECT id, organisation_id, reason, shared_at, until, ended_at FROM shares
			WHERE registration_id = $1 AND id > $2 AND ($3 OR organisation_id = $4) ORDER BY id LIMIT $5`, donor, after, all.Allowed, a.actor.organisation, pageSize(limit))
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[ShareView])
		return err
	})
	return out, err
}

// sharesOf are the organisations that a donor, $1, is shared with at an instant, $2: by this program's clock and by the database's.
const sharesOf = `ARRAY(SELECT organisation_id FROM shares WHERE registration_id = $1 AND until > now() AND until > $2 AND ended_at IS NULL AND severed_at IS NULL)`

// sharedWith reads them by themselves, for a case of the donor's.
func (a *act) sharedWith(ctx context.Context, donor uuid.UUID) (out []uuid.UUID, err error) {
	return out, a.QueryRow(ctx, `SELECT `+sharesOf, donor, a.now()).Scan(&out)
}
