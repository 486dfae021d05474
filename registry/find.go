package registry

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// FindForm names a person by an identity document, whole: nobody is found by a part of what is masked.
type FindForm struct {
	DocumentKind   identity.DocumentKind `json:"document_kind,omitempty" validate:"omitempty,max=40" doc:"Recognised from the number when left out."`
	DocumentNumber seal.Number           `json:"document_number" validate:"required,max=40"`
}

// FindDonor returns the registrations of who has an identity document, as far as the actor reaches them. What was looked for is
// in the audit as a keyed digest.
func (r *Reader) FindDonor(ctx context.Context, actor Actor, f FindForm) ([]DonorLine, error) {
	var out []DonorLine
	err := r.act(ctx, actor, "FindDonor", policy.ForCase, func(ctx context.Context, a *act) error {
		doc, err := identity.ParseDocument(f.DocumentKind, f.DocumentNumber.Reveal())
		if f.DocumentKind == "" {
			doc, err = identity.Recognise(f.DocumentNumber.Reveal())
		}
		if err != nil {
			a.decided = true
			return invalid(forms.Problems{{Code: "R103", Field: "document_number"}})
		}
		within := a.reachOf(policy.Find, policy.Identity)
		key := documentKey(doc.Kind(), seal.NumberOf(doc.Reveal()))
		out, err = a.donorLines(ctx, `EXISTS (SELECT FROM person_documents d WHERE d.person_id = p.id AND d.number_index = ANY($3))`, within, a.keys.Lookups("document", key))
		if err != nil {
			return err
		}
		return a.permitList(policy.Identity, within, "donors", idsOf(out, func(d DonorLine) uuid.UUID { return d.ID }), a.sought("document", key))
	})
	return out, err
}

// donorLines reads registrations that a condition finds within a reach. $1 and $2 are the reach; the condition's own parameter is $3.
func (a *act) donorLines(ctx context.Context, condition string, within reach, arg any) ([]DonorLine, error) {
	rows, err := a.Query(ctx, `
		SELECT `+donorLineColumns+`
		FROM registrations r JOIN persons p ON p.id = r.person_id
		WHERE `+condition+` AND EXISTS (SELECT FROM unnest($1::text[], $2::text[]) s(lo, hi) WHERE r.region >= lo AND r.region < hi)
		ORDER BY r.id LIMIT 200`, within.lo, within.hi, arg)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, a.scanDonorLine)
}

// storedOnly tells of a registration r that its person asked for erasure, and that it has ended: a list names nobody there.
const storedOnly = `EXISTS (SELECT FROM restrictions x WHERE x.person_id = r.person_id AND x.kind IN ('blocked', 'erased') AND r.status IN ('withdrawn', 'left', 'undone'))`

const donorLineColumns = `r.id, r.number, r.programme, r.intent, r.status, r.region, r.registered_on, coalesce(r.merged_into, '00000000-0000-0000-0000-000000000000'), p.id, p.key_wrapped, p.name_sealed, ` + storedOnly

// scanDonorLine reads a registration for a list and shows of it what the reader may see.
func (a *act) scanDonorLine(row pgx.CollectableRow) (DonorLine, error) {
	d, err := a.scanMasked(row)
	if err == nil {
		show(a.mask(record{region: d.Region}), &d)
	}
	return d, err
}

// scanMasked reads a registration for a list; of the name it has the mask, for who may read names.
func (a *act) scanMasked(row pgx.CollectableRow) (d DonorLine, err error) {
	var person uuid.UUID
	var wrapped, sealed []byte
	var held bool
	if err := row.Scan(&d.ID, &d.Number, &d.Programme, &d.Intent, &d.Status, &d.Region, &d.RegisteredOn, &d.MergedInto, &person, &wrapped, &sealed, &held); err != nil {
		return d, err
	}
	seen := a.mask(record{region: d.Region})
	if seen.May(policy.Read, policy.Identity) && !held {
		key, err := a.keys.Unwrap(keyCell(person), wrapped)
		if err != nil {
			return d, err
		}
		name, err := key.OpenName(cell("persons", "name", person), sealed)
		if err != nil {
			return d, err
		}
		masked := name.Masked()
		if seen.May(policy.Reveal, policy.Identity) {
			masked.Reveal = revealPath(d.ID, "name", masked)
		}
		d.Name = &masked
	}
	return d, nil
}

// DonorCount is how many registrations there are of a kind.
type DonorCount struct {
	Of    string `json:"of" class:"registration" mask:"drop" doc:"The programme, status or region that was counted by."`
	Count int    `json:"count" class:"registration" mask:"drop"`
}

// CountDonors counts registrations by programme, status or region, over the very rows that ListDonors would show.
func (r *Reader) CountDonors(ctx context.Context, actor Actor, programme rules.Programme, by string) ([]DonorCount, error) {
	var out []DonorCount
	err := r.act(ctx, actor, "CountDonors", policy.ForCase, func(ctx context.Context, a *act) error {
		column, known := map[string]string{"programme": "r.programme", "status": "r.status", "region": "r.region"}[by]
		if !known {
			a.decided = true
			return refused("field_masked", "Name", by)
		}
		within := a.reachOf(policy.Read, policy.Registration)
		rows, err := a.Query(ctx, `
			SELECT `+column+`, count(*) FROM registrations r
			WHERE ($3 = '' OR r.programme = $3) AND EXISTS (SELECT FROM unnest($1::text[], $2::text[]) s(lo, hi) WHERE r.region >= lo AND r.region < hi)
			GROUP BY 1 ORDER BY 1`, within.lo, within.hi, string(programme))
		if err != nil {
			return err
		}
		if out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[DonorCount]); err != nil {
			return err
		}
		err = a.permitList(policy.Registration, within, "donors", nil, a.narrowed("counted_by", by), a.narrowed("programme", string(programme)))
		a.entries[len(a.entries)-1].Shown = len(out)
		return err
	})
	return out, err
}
