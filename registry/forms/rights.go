package forms

import (
	"strings"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/seal"
)

// RightsRequest is what somebody asks about their own data, or about that of a near relative who died (PIPL Arts. 15,
// 44-50), as a member of staff writes it down.
type RightsRequest struct {
	Donor      uuid.UUID   `json:"donor" validate:"required" doc:"A registration of the person whose data it is about."`
	Kind       string      `json:"kind" validate:"required,oneof=access copy correction withdrawal deletion explanation arrangement kin_access kin_copy kin_correction kin_deletion" doc:"What is asked. arrangement: no relative shall see, correct or erase the data after the person's death."`
	Asker      string      `json:"asker" validate:"required,oneof=person guardian relative" doc:"Who asks. A relative asks what begins with kin_, and nothing else."`
	Relation   string      `json:"relation,omitempty" validate:"required_if=Asker relative,omitempty,oneof=spouse child parent sibling grandparent grandchild" doc:"A near relative's relation to the person (Civil Code Art. 1045)."`
	Via        string      `json:"via" validate:"required,oneof=phone counter letter online" doc:"How it was asked."`
	Correction *Correction `json:"correction,omitempty" validate:"required_if=Kind correction,required_if=Kind kin_correction,omitempty" doc:"What is wrong, as it is right."`
	Note       seal.Note   `json:"note,omitzero" validate:"max=2000" doc:"Who the relative or guardian is, and what the person said."`
}

// Correction is what a person says is wrong in their data. A field that is left out is as it was.
type Correction struct {
	Name           seal.Name             `json:"name,omitzero" validate:"omitempty,personname"`
	DocumentKind   identity.DocumentKind `json:"document_kind,omitempty" validate:"omitempty,oneof=resident_id hk_macao_residence taiwan_residence permanent_residence hk_macao_pass taiwan_pass mainland_pass passport military_id" doc:"Recognised from the number when left out."`
	DocumentNumber seal.Number           `json:"document_number,omitzero" validate:"max=40"`
	Phone          seal.Phone            `json:"phone,omitzero" validate:"omitempty,phone"`
	Email          seal.Email            `json:"email,omitzero" validate:"omitempty,email,max=120"`
	Address        seal.Address          `json:"address,omitzero" validate:"max=200"`
	HeightCM       int                   `json:"height_cm,omitempty" validate:"omitempty,min=80,max=250"`
	WeightKG       int                   `json:"weight_kg,omitempty" validate:"omitempty,min=25,max=300"`
	ABO            identity.ABO          `json:"abo,omitempty" validate:"omitempty,oneof=A B O AB"`
	Rh             identity.Rh           `json:"rh,omitempty" validate:"omitempty,oneof=positive negative"`
	Evidence       string                `json:"evidence" validate:"required,oneof=identity_document household_register laboratory_report statement" doc:"What was seen. A name or a document number needs a document, a blood group a report."`
}

// Fields names what a correction is about, in the order of the form.
func (c *Correction) Fields() []string {
	var out []string
	add := func(name string, given bool) {
		if given {
			out = append(out, name)
		}
	}
	add("name", !c.Name.Empty())
	add("document_number", !c.DocumentNumber.Empty())
	add("phone", !c.Phone.Empty())
	add("email", !c.Email.Empty())
	add("address", !c.Address.Empty())
	add("height_cm", c.HeightCM != 0)
	add("weight_kg", c.WeightKG != 0)
	add("abo", c.ABO != "")
	add("rh", c.Rh != "")
	return out
}

// Review brings a request into its canonical form and returns what is wrong with it. A correction is held against the
// rules of the form that the data came from.
func (f *RightsRequest) Review() Problems {
	problems := Check(f)
	if len(problems) > 0 {
		return problems
	}
	kin := strings.HasPrefix(f.Kind, "kin_")
	if kin != (f.Asker == "relative") {
		allowed := "person, guardian"
		if kin {
			allowed = "relative"
		}
		problems = append(problems, Problem{Code: "R114", Field: "asker", Args: map[string]any{"Allowed": allowed}})
	}
	if strings.HasSuffix(f.Kind, "correction") {
		problems = append(problems, f.Correction.review()...)
	} else {
		f.Correction = nil
	}
	return problems
}

// evidenceFor says what has to be seen before a field is corrected; for the others the person's word is enough.
var evidenceFor = map[string][]string{
	"name": {"identity_document", "household_register"}, "document_number": {"identity_document"},
	"abo": {"laboratory_report"}, "rh": {"laboratory_report"},
}

func (c *Correction) review() (out Problems) {
	fields := c.Fields()
	if len(fields) == 0 {
		return Problems{{Code: "R101", Field: "correction"}}
	}
	for _, field := range fields {
		seen, asked := evidenceFor[field]
		enough := !asked
		for _, e := range seen {
			enough = enough || e == c.Evidence
		}
		if !enough {
			return Problems{{Code: "R114", Field: "correction.evidence", Args: map[string]any{"Allowed": strings.Join(seen, ", ")}}}
		}
	}
	f := Registration{Name: c.Name, DocumentKind: c.DocumentKind, DocumentNumber: c.DocumentNumber, Phone: c.Phone}
	add := func(code, field string, args map[string]any) {
		// What the person is born as and of which sex stays as it is where the new document does not say it.
		if p := (Problem{Code: code, Field: "correction." + field, Args: args}); p.Blocks() && field != "birth_date" && field != "sex" {
			out = append(out, p)
		}
	}
	if !c.Name.Empty() {
		f.reviewName(add)
	}
	if !c.DocumentNumber.Empty() {
		f.reviewDocument(add)
	}
	if !c.Phone.Empty() {
		f.reviewPhones(map[string]bool{}, add)
	}
	c.Name, c.DocumentKind, c.DocumentNumber, c.Phone = f.Name, f.DocumentKind, f.DocumentNumber, f.Phone
	return out
}

// RightsIdentity answers the first step of a request: who asks is who they say, and, for a relative, the person has died
// and the relation is proven (PIPL Art. 49).
type RightsIdentity struct {
	Outcome string        `json:"outcome" validate:"required,oneof=confirmed not_proven prearranged" doc:"prearranged: the person arranged in their lifetime that relatives shall not."`
	On      calendar.Date `json:"on" validate:"required"`
	Proof   []string      `json:"proof,omitempty" validate:"required_if=Outcome confirmed,max=6,unique,dive,oneof=identity_document guardianship death_certificate household_register marriage_certificate birth_certificate notarised_letter" doc:"What was seen. A relative brings a death certificate and what proves the relation."`
	DiedOn  calendar.Date `json:"died_on,omitzero" doc:"The day of death, from the certificate."`
	Reason  string        `json:"reason,omitempty" validate:"required_if=Outcome not_proven,omitempty,oneof=no_document document_mismatch relation_not_proven death_not_proven did_not_come"`
	Note    seal.Note     `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form.
func (f RightsIdentity) Summary() Outcome {
	return Outcome{Code: f.Outcome, Reason: f.Reason, On: f.On, Flags: f.Proof}
}

// RightsDecision answers the second step. Somebody else than who filed the request gives it.
type RightsDecision struct {
	Outcome    string    `json:"outcome" validate:"required,oneof=grant in_part refuse"`
	Reason     string    `json:"reason,omitempty" validate:"required_if=Outcome refuse,required_if=Outcome in_part,omitempty,oneof=law_keeps case_open not_the_person prearranged unfounded already_done" doc:"Why not, or not all. law_keeps: a law tells to keep it. case_open: somebody's treatment depends on it now."`
	Fields     []string  `json:"fields,omitempty" validate:"unique,dive,oneof=name document_number phone email address height_cm weight_kg abo rh" doc:"Of a correction that is granted in part: what is corrected."`
	StaffNamed bool      `json:"staff_named,omitempty" doc:"The copy names the members of staff who looked, and not their offices and roles alone."`
	Note       seal.Note `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form.
func (f RightsDecision) Summary() Outcome {
	return Outcome{Code: f.Outcome, Reason: f.Reason, Flags: f.Fields}
}

// RightsCarryingOut answers the third step: what was decided is done with this answer, or, for a copy, was handed over.
type RightsCarryingOut struct {
	Outcome string        `json:"outcome" validate:"required,oneof=done"`
	On      calendar.Date `json:"on" validate:"required"`
	Note    seal.Note     `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form.
func (f RightsCarryingOut) Summary() Outcome { return Outcome{Code: f.Outcome, On: f.On} }

// RightsTelling answers the last step: who asked has heard what came of it, with the reasons (PIPL Art. 50).
type RightsTelling struct {
	Outcome string        `json:"outcome" validate:"required,oneof=told unreachable"`
	On      calendar.Date `json:"on" validate:"required"`
	Channel string        `json:"channel" validate:"required,oneof=phone message mail visit counter"`
	Note    seal.Note     `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form.
func (f RightsTelling) Summary() Outcome {
	return Outcome{Code: f.Outcome, On: f.On}
}
