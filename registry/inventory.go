package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/exchange"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/rules"
)

// An inventory is what registries tell each other of the stem-cell donors that can be asked: the number, the typing, and what helps to choose. It
// names nobody, and still it is about people, and what leaves the country is restricted (人类遗传资源管理条例): so it is an export like those
// in clear, which one person asks for with a purpose and a reason and another approves.

// ownPool is the ION of the China Marrow Donor Program.
const ownPool = "2197"

var ionForm = regexp.MustCompile(`^[1-9]\d{3}$`)

// InventoryFormats lists the formats of inventories: those that say who is in the file and nothing of how others search in it.
func InventoryFormats() []exchange.Format {
	return []exchange.Format{exchange.WMDA, exchange.Atlas, exchange.GL}
}

// inventory tells that an export is one.
func (v ExportView) inventory() bool { return slices.Contains(v.Classes, policy.HLA) }

// most is the rule of how many donors an export may have.
func (v ExportView) most() rules.Key {
	if v.inventory() {
		return rules.AccessInventoryRows
	}
	return rules.AccessExportRows
}

// asInventory makes the form of an export of typings what it can only be: of listed stem-cell donors, with nothing that names them.
func (f *ExportForm) asInventory() forms.Problems {
	if !slices.Contains(f.Classes, policy.HLA) {
		return nil
	}
	var problems forms.Problems
	only := func(field, allowed string, otherwise bool) {
		if otherwise {
			problems = append(problems, forms.Problem{Code: "R114", Field: field, Args: map[string]any{"Allowed": allowed}})
		}
	}
	only("classes", string(policy.HLA), len(f.Classes) > 1)
	only("filter.programme", string(rules.StemCell), f.Filter.Programme != "" && f.Filter.Programme != rules.StemCell)
	only("filter.status", "listed", f.Filter.Status != "" && f.Filter.Status != "listed")
	f.Filter.Programme, f.Filter.Status = rules.StemCell, "listed"
	return problems
}

// Inventory is a file of donors as registries exchange it. It lies in a file without a name, which is gone once it is closed, or with the process.
type Inventory struct {
	Donors  int // in it
	LeftOut int // whose typing the format cannot hold without saying something else
	file    *os.File
}

// WriteTo writes the file, once.
func (i *Inventory) WriteTo(to io.Writer) (int64, error) { return io.Copy(to, i.file) }

// Close does away with the file.
func (i *Inventory) Close() error { return i.file.Close() }

// begin empties the file, for an act that is tried again.
func (i *Inventory) begin() error {
	i.Donors, i.LeftOut = 0, 0
	if err := i.file.Truncate(0); err != nil {
		return err
	}
	_, err := i.file.Seek(0, io.SeekStart)
	return err
}

// FetchInventory makes the file of an inventory that was approved, for the one who asked, by what the policy lets them take out now. It is all of
// one instant, and nothing of it can be read before its audit is written. Whoever gets it closes it.
//
// Errors: as FetchExport; Refused export_no_inventory when another export was asked for; Invalid when there is no such format.
func (s *Store) FetchInventory(ctx context.Context, actor Actor, id uuid.UUID, format exchange.Format) (*Inventory, error) {
	file, err := os.CreateTemp("", "liferelay-inventory-*")
	if err != nil {
		return nil, err
	}
	out := &Inventory{file: file}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	err = s.act(ctx, actor, "FetchInventory", policy.ForCase, func(ctx context.Context, a *act) error {
		v, err := a.readExport(ctx, id, "")
		if err != nil {
			return err
		}
		if err := a.permitFetch(v); err != nil {
			return err
		}
		if !v.inventory() {
			return refused("export_no_inventory")
		}
		if !slices.Contains(InventoryFormats(), format) {
			return invalid(forms.Problems{{Code: "R114", Field: "format", Args: map[string]any{"Allowed": formatsText()}}})
		}
		filter, within := v.Filter.in(v.Region), a.reachOf(policy.Export, policy.Registration).and(a.reachOf(policy.Export, policy.Demographics)).and(a.reachOf(policy.Export, policy.HLA))
		if _, err := a.countExported(ctx, filter, within, v.most()); err != nil {
			return err
		}
		if err := out.begin(); err != nil {
			return err
		}
		left, err := a.inventory(ctx, filter, within, format, out)
		if err != nil {
			return err
		}
		fields := append(a.narrowedBy(filter), "format="+string(format), "rows="+strconv.Itoa(out.Donors), "left_out="+strconv.Itoa(out.LeftOut))
		fields = slices.DeleteFunc(fields, func(f string) bool { return f == "" })
		for i, e := range a.entries {
			if e.Action == policy.Export {
				a.noteExported(i, left, strings.Join(fields, " "))
			}
		}
		a.writes.Queue(`UPDATE exports SET fetches = fetches + 1, fetched_at = $2, version = version + 1 WHERE id = $1`, id, a.at)
		return nil
	})
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return out, nil
}

func formatsText() string {
	var out []string
	for _, f := range InventoryFormats() {
		out = append(out, string(f))
	}
	return strings.Join(out, ", ")
}

// listedDonor is a row of an inventory.
type listedDonor struct {
	ID               uuid.UUID
	Number           string
	Birth            calendar.Date
	Sex, ABO, Rh     string
	Height, Weight   *int
	Contact          calendar.Date
	Reserved         bool
	GL, Nomenclature string
}

// How our words are EMDIS's.
var (
	emdisSex = map[string]string{"male": "M", "female": "F"}
	emdisRh  = map[string]string{"positive": "P", "negative": "N"}
)

// exchanged is the donor as registries exchange them: of the birth date the year alone, as EMDIS writes a day that is not known.
func (d listedDonor) exchanged(pool string, format exchange.Format) exchange.Donor {
	out := exchange.Donor{
		ID: d.Number, Pool: pool, Type: exchange.Adult, Status: exchange.Available, Birth: fmt.Sprintf("%04d-01-01", d.Birth.Year()), Sex: emdisSex[d.Sex], ABO: d.ABO, Rhesus: emdisRh[d.Rh],
		Height: d.Height, Weight: d.Weight, Contact: d.Contact.String(), Typing: d.GL,
	}
	if d.Reserved {
		out.Status = exchange.Reserved
	}
	if format == exchange.Atlas {
		out.Change = exchange.New
	}
	if format == exchange.GL { // which has a place for the release: a GL String Code
		out.Typing = "hla#" + d.Nomenclature + "#" + d.GL
	}
	return out
}

// inventory writes the listed donors of a filter who have a typing, and gives their registrations.
func (a *act) inventory(ctx context.Context, f DonorFilter, within reach, format exchange.Format, to *Inventory) ([]uuid.UUID, error) {
	w, err := exchange.NewWriter(format, to.file, exchange.Header{Mode: exchange.Full, Listing: a.ion, Pool: a.ion, Type: exchange.Adult, Snapshot: a.at.Truncate(time.Second)})
	if err != nil {
		return nil, err
	}
	rows, err := a.Query(ctx, `
		SELECT r.id, r.number, p.birth_date, coalesce(p.sex, ''), coalesce(p.abo, ''), coalesce(p.rh, ''), p.height_cm, p.weight_kg, coalesce(p.last_contact, r.registered_on),
			EXISTS (SELECT FROM reservations v WHERE v.registration_id = r.id AND v.released_at IS NULL), t.gl_string, t.nomenclature
		FROM registrations r JOIN persons p ON p.id = r.person_id JOIN typings t ON t.registration_id = r.id AND t.current AND t.kind = 'enrolment'
		WHERE `+donorsThat+` AND p.status = 'active' AND p.erased_at IS NULL ORDER BY r.id`, donorsArgs(f, within)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var left []uuid.UUID
	for rows.Next() {
		d, err := pgx.RowToStructByPos[listedDonor](rows)
		if err != nil {
			return nil, err
		}
		var refused *exchange.RecordError
		switch err := w.Write(d.exchanged(a.ion, format)); {
		case errors.As(err, &refused):
			to.LeftOut++
		case err != nil:
			return nil, err
		default:
			to.Donors++
			left = append(left, d.ID)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return left, w.Close()
}
