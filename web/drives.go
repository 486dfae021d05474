package web

import (
	"bytes"
	"cmp"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/seal"
)

// drivePages are the drives: their list, the planner, the board.
func (s *Site) drivePages() {
	s.page("GET /drives", s.drives)
	s.page("GET /drives/new", s.newDrive)
	s.act("POST /drives", s.planDrive)
	s.page("GET /drives/{id}", s.drive)
	s.page("GET /drives/{id}/template.xlsx", s.driveTemplate)
	s.act("POST /drives/{id}/own-form", s.switchOwnForm)
}

func (s *Site) drives(v *Visit) (Answer, error) {
	after, _ := uuid.Parse(v.Query("after"))
	list, err := s.store.ListDrives(v, v.Actor, after, 50)
	if err != nil {
		return nil, err
	}
	next := ""
	if len(list) == 50 {
		next = list[49].ID.String()
	}
	return v.Page("page.drives", drivesPage(v, list, next)), nil
}

func (s *Site) driveForm(v *Visit, f *Filled) (*Filled, error) {
	f.Without("team")
	for field, kinds := range map[string][]string{"host": {"host"}, "laboratory": {"laboratory", "blood_station"}} {
		options := []Option{}
		for _, kind := range kinds {
			found, err := s.store.ListOrganisations(v, v.Actor, kind, uuid.Nil, 200)
			if err != nil {
				return nil, err
			}
			for _, o := range found {
				options = append(options, Option{Value: o.ID.String(), Label: o.Name})
			}
		}
		f.Choose(field, options)
	}
	return f.Call("name", v.Say("drives.plan_name")).Call("region", v.Say("drives.plan_region")), nil
}

func (s *Site) newDrive(v *Visit) (Answer, error) {
	f, err := s.driveForm(v, Blank[forms.Drive](v))
	if err != nil {
		return nil, err
	}
	if !v.May(policy.Write, policy.Drive) {
		return nil, registry.NewError(registry.Denied, "denied", map[string]any{"Action": string(policy.Write), "Class": string(policy.Drive)})
	}
	return v.Page("page.drive_plan", drivePlanPage(v, f)), nil
}

func (s *Site) planDrive(v *Visit) (Answer, error) {
	f, filled := Read[forms.Drive](v)
	if filled.Good() {
		d, err := s.store.PlanDrive(v, v.Actor, f)
		if err == nil {
			return v.To("/drives/"+d.ID.String(), "said.drive_planned"), nil
		}
		if !filled.Takes(err) {
			return nil, err
		}
	}
	filled, err := s.driveForm(v, filled)
	if err != nil {
		return nil, err
	}
	return v.Page("page.drive_plan", drivePlanPage(v, filled)), nil
}

// driveBoard is what the board shows.
type driveBoard struct {
	registry.BoardView
	batches []registry.BatchView
	works   bool // the reader may work on what comes in
	link    registry.LinkView
	address string
	qr      string
}

func (s *Site) drive(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	b := driveBoard{}
	if b.BoardView, err = s.store.Board(v, v.Actor, id); err != nil {
		return nil, err
	}
	// Who may look at the numbers may not always work on the forms: then that part is not there.
	switch b.link, err = s.store.ShowLink(v, v.Actor, id); registry.KindOf(err) {
	case "":
		if err != nil {
			return nil, err
		}
		b.works = true
		if b.batches, err = s.store.ListBatches(v, v.Actor, id); err != nil {
			return nil, err
		}
	case registry.Denied, registry.NotFound:
	default:
		return nil, err
	}
	if b.link.Token != "" {
		b.address = v.URL("/f/" + b.link.Token)
		if b.qr, err = qrCode(b.address); err != nil {
			return nil, err
		}
	}
	return v.Page("page.drive", drivePage(v, b), "Name", b.Drive.Name), nil
}

func (s *Site) driveTemplate(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := s.store.Template(v, v.Actor, id, &out); err != nil {
		return nil, err
	}
	return v.File("template.xlsx", workbookType, func(w io.Writer) error { _, err := out.WriteTo(w); return err }), nil
}

const workbookType = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

func (s *Site) switchOwnForm(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	open := v.Field("open") == "true"
	if _, err := s.store.SwitchLink(v, v.Actor, id, registry.LinkForm{Open: open, Renew: v.Field("renew") == "true"}); err != nil {
		return nil, err
	}
	said := "said.own_form_off"
	if open {
		said = "said.own_form_on"
	}
	return v.To("/drives/"+id.String(), said), nil
}

// typedFields are what a form that is typed in asks for, in the order in which it is read from paper. The programmes are one question.
var typedFields = []intake.Field{
	intake.DocumentNumber, intake.Name, intake.Phone, intake.Workplace, intake.Ethnicity, intake.Contact1Name, intake.Contact1Relation, intake.Contact1Phone,
	intake.Contact2Name, intake.Contact2Relation, intake.Contact2Phone, intake.Programmes, intake.Organs, intake.HealthAnswered, intake.Signed, intake.SignedOn,
	intake.DocumentKind, intake.Sex, intake.BirthDate, intake.ABO, intake.Rh, intake.HeightCM, intake.WeightKG, intake.Email, intake.Address,
}

// paperFields are typedFields behind the scanner's field.
var paperFields = append([]intake.Field{intake.Barcode}, typedFields...)

// ownFields are those of typedFields that a volunteer fills in.
var ownFields = slices.DeleteFunc(slices.Clone(typedFields), func(f intake.Field) bool { return !slices.Contains(registry.OwnFields(), f) })

// texts reads what was typed into fields.
func (v *Visit) texts(fields []intake.Field) intake.Texts {
	out := intake.Texts{}
	for _, f := range fields {
		var parts []string
		for _, text := range v.Fields(string(f)) {
			if text = strings.TrimSpace(text); text != "" {
				parts = append(parts, text)
			}
		}
		if len(parts) > 0 {
			out[f] = seal.NoteOf(strings.Join(parts, ", "))
		}
	}
	return out
}

// typedField is one field of a typed form.
type typedField struct {
	field    intake.Field
	value    string
	problems []registry.ProblemText
}

func (t typedField) id() string { return typedID(t.field.Path()) }

func (t typedField) holds(value string) bool {
	return slices.Contains(strings.Split(t.value, ", "), value)
}

// yes tells whether the field is answered by a tick.
func (t typedField) yes() bool {
	values := t.field.Values()
	return len(values) == 2 && values[0] == "yes"
}

// mode is the keyboard that a telephone shows for the field.
func (t typedField) mode() string {
	switch t.field {
	case intake.Phone, intake.Contact1Phone, intake.Contact2Phone:
		return "tel"
	case intake.HeightCM, intake.WeightKG, intake.Tubes:
		return "numeric"
	}
	return "text"
}

// typed are the fields of a form with what was typed and what is wrong; a problem of a part goes to the field that has its path, else
// to none.
func typed(fields []intake.Field, texts intake.Texts, problems []registry.ProblemText) []typedField {
	out := make([]typedField, len(fields))
	for i, f := range fields {
		out[i] = typedField{field: f, value: texts[f].Reveal()}
		for _, p := range problems {
			if p.Field == f.Path() {
				out[i].problems = append(out[i].problems, p)
			}
		}
	}
	return out
}

// problemsOf are the problems of a form that the register did not take; ok is false for every other error.
func (v *Visit) problemsOf(err error) (problems []registry.ProblemText, ok bool) {
	known, is := err.(*registry.Error) //nolint:errorlint // the register's methods return their own
	if !is || known.Kind != registry.Invalid {
		return nil, false
	}
	v.refused = true
	return registry.ProblemTexts(known.Problems, v.Locale), true
}

func (v *Visit) fieldName(f intake.Field) string { return forms.FieldName(f.Path(), v.Locale) }

// fieldLabel is a field as people choose it for a column.
func (v *Visit) fieldLabel(f intake.Field) string {
	if f == intake.Ignore {
		return v.Say("drives.ignore")
	}
	switch f {
	case intake.StemCell, intake.Blood, intake.Organ, intake.Cornea, intake.Body:
		return forms.FieldName(string(f), v.Locale)
	}
	return v.fieldName(f)
}

func itoa(n int) string { return strconv.Itoa(n) }

var toneOf = map[string]string{
	"planned": "plain", "open": "good", "closed": "fair", "sent": "fair", "reported": "faint", "cancelled": "faint",
	"ready": "good", "known": "plain", "warning": "fair", "error": "bad", "duplicate": "fair",
	"created": "fair", "checked": "plain", "committing": "fair", "committed": "good", "undoing": "fair", "undone": "faint",
	"submitted": "fair", "draft": "faint", "returned": "bad", "taken": "good", "expired": "faint",
}

func tone(code string) string { return cmp.Or(toneOf[code], "plain") }

// typedID is the id of a typed form's field.
func typedID(path string) string {
	return "f-" + inID.Replace(path)
}
