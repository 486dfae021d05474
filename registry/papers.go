package registry

import (
	"context"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/print"
	"github.com/liferelay/liferelay/registry/rules"
)

// What is put on paper. A paper is made when it is asked for, in the act that permits it, and kept nowhere.

// LabelForm says which labels of a drive's tubes are printed.
type LabelForm struct {
	Format string `json:"format" validate:"required,oneof=a4-65 a4-40 a4-24 roll-50x25 roll-60x40" doc:"A sheet by how many labels it has, or a roll by the size of its labels."`
	From   string `json:"from,omitempty" validate:"omitempty,barcode" doc:"The first barcode; the drive's first when left out."`
	To     string `json:"to,omitempty" validate:"omitempty,barcode" doc:"The last; the drive's last when left out."`
	Copies int    `json:"copies,omitempty" validate:"omitempty,min=1,max=5" doc:"Of each label: one for the tube, one for the form. One when left out."`
}

// mostLabels is how many labels one print may have.
const mostLabels = 2000

// PrintLabels gives the labels of a drive's tubes as a PDF, to those who may enter its forms.
//
// Errors: Refused when the drive has no barcodes, when there would be more than two thousand labels, and when a barcode does not fit
// the label.
func (r *Reader) PrintLabels(ctx context.Context, actor Actor, drive uuid.UUID, f LabelForm) ([]byte, error) {
	var labels []print.Label
	err := r.act(ctx, actor, "PrintLabels", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		d, err := a.readDrive(ctx, drive)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Intake, d.record()); err != nil {
			return err
		}
		problems := forms.Check(f)
		if d.BarcodeFrom == "" {
			return refused("drive_without_barcodes")
		}
		from, to := d.BarcodeFrom, d.BarcodeTo
		for field, one := range map[string]string{"from": f.From, "to": f.To} {
			if one != "" && (len(one) != len(from) || one < from || one > to) {
				problems = append(problems, forms.Problem{Code: "R114", Field: field})
			}
		}
		if len(problems) > 0 {
			return invalid(problems)
		}
		if f.From != "" {
			from = f.From
		}
		if f.To != "" {
			to = f.To
		}
		labels = nil
		for code, ok := from, true; ok && code <= to; code, ok = nextBarcode(code) {
			for range max(f.Copies, 1) {
				labels = append(labels, print.Label{Above: d.Number, Barcode: code})
			}
			if len(labels) > mostLabels {
				return refused("labels_too_many", "Most", mostLabels)
			}
		}
		last := &a.entries[len(a.entries)-1]
		last.Fields = fmt.Sprintf("labels=%d", len(labels))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return paper(print.Labels(f.Format, labels))
}

// nextBarcode counts the digits at the end of a barcode up by one; a barcode whose digits are at their end has none after it.
func nextBarcode(code string) (string, bool) {
	digits := []byte(code)
	for i := len(digits) - 1; i >= 0 && digits[i] >= '0' && digits[i] <= '9'; i-- {
		if digits[i] != '9' {
			digits[i]++
			return string(digits), true
		}
		digits[i] = '0'
	}
	return "", false
}

// paper turns what print says into what people read.
func paper(pdf []byte, err error) ([]byte, error) {
	var lacks *print.Unprintable
	switch {
	case errors.As(err, &lacks):
		return nil, refused("unprintable", "Field", lacks.Field)
	case errors.Is(err, print.ErrTooNarrow):
		return nil, refused("label_too_small")
	}
	return pdf, err
}

// ConsentPaperForm says which forms are printed for a drive.
type ConsentPaperForm struct {
	Programme rules.Programme `json:"programme,omitempty" validate:"omitempty,oneof=stemcell organ cornea body blood" doc:"Stem cells when left out."`
	Copies    int             `json:"copies,omitempty" validate:"omitempty,min=1,max=500" doc:"One when left out."`
}

// consentTitles are the names of the titles of forms.
var consentTitles = map[rules.Programme]string{
	"stemcell": "print.form_stemcell", "organ": "print.form_organ", "cornea": "print.form_cornea", "body": "print.form_body", "blood": "print.form_blood",
}

// PrintConsentForms gives forms to be signed at a drive as a PDF: in the wording that is in force on the drive's first day, in both
// languages, with a square that leads back to the drive.
func (r *Reader) PrintConsentForms(ctx context.Context, actor Actor, drive uuid.UUID, f ConsentPaperForm) ([]byte, error) {
	var page print.ConsentForm
	err := r.act(ctx, actor, "PrintConsentForms", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		d, err := a.readDrive(ctx, drive)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Intake, d.record()); err != nil {
			return err
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		if f.Programme == "" {
			f.Programme = rules.StemCell
		}
		w, ok := rules.CurrentWording(string(f.Programme)+".registration", d.FirstDay)
		if !ok {
			return missing("wording")
		}
		page = print.ConsentForm{
			Title: consentTitles[f.Programme], Version: w.Version, Chinese: w.Chinese, English: w.English, Drive: d.Number, Place: d.Place,
			Days: d.FirstDay.String() + " – " + d.LastDay.String(), Square: a.publicPage("/drives/" + d.ID.String()), Copies: f.Copies,
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return paper(print.ConsentForms(page))
}

// publicPage is the address of a page as it stands on paper: without the installation's own, the part of it that finds the record.
func (r *Reader) publicPage(path string) string { return strings.TrimSuffix(r.public, "/") + path }

// PrintRequest gives what a task asks for as a page for a file or a box: a case's number, what is asked, of whom and by when, and
// nobody's name.
func (r *Reader) PrintRequest(ctx context.Context, actor Actor, task uuid.UUID) ([]byte, error) {
	t, err := r.ShowTask(ctx, actor, task)
	if err != nil {
		return nil, err
	}
	var organisation string
	err = r.internally(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT coalesce((SELECT o.name FROM tasks t JOIN organisations o ON o.id = t.organisation_id WHERE t.id = $1), '')`, task).Scan(&organisation)
	})
	if err != nil {
		return nil, err
	}
	return paper(print.RequestPaper(print.Request{
		Step: t.Step, Number: t.CaseNumber, Organisation: organisation, Opened: clockTime(t.OpenedAt), Due: clockTime(t.DueAt), Printed: clockTime(r.now()),
	}))
}

// CertificateView is a certificate that somebody was given.
type CertificateView struct {
	ID       uuid.UUID       `json:"id" class:"case" mask:"drop"`
	Number   string          `json:"number" class:"case" mask:"drop"`
	Kind     string          `json:"kind" doc:"donation, honour or leave_letter" class:"case" mask:"drop"`
	Region   identity.Region `json:"region" class:"case" mask:"drop"`
	Nth      *int            `json:"nth,omitempty" doc:"The region's how-manieth donor." class:"case" mask:"drop"`
	IssuedOn calendar.Date   `json:"issued_on" class:"case" mask:"drop"`
}

// ListCertificates returns the certificates of a donor.
func (r *Reader) ListCertificates(ctx context.Context, actor Actor, donor uuid.UUID) ([]CertificateView, error) {
	var out []CertificateView
	err := r.act(ctx, actor, "ListCertificates", policy.ForFollowUp, func(ctx context.Context, a *act) error {
		row, err := a.readRegistration(ctx, donor, "")
		if err != nil {
			return err
		}
		rec := row.record()
		if err := a.standingsOf(ctx, &rec, donor); err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Case, rec); err != nil {
			return err
		}
		rows, err := a.Query(ctx, `SELECT id, number, kind, region, nth, issued_on FROM certificates WHERE person_id = $1 ORDER BY issued_on, number`, row.Person)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[CertificateView])
		return err
	})
	if out == nil {
		out = []CertificateView{}
	}
	return out, err
}

// PrintCertificate gives a certificate as a PDF. The donor's name stands on it in clear, so it is shown as RevealDonor shows it: to
// whom the policy lets, for a reason that is written down. A name with a character that cannot be printed is refused, and nothing is
// left out in silence.
func (r *Reader) PrintCertificate(ctx context.Context, actor Actor, donor, certificate uuid.UUID, f RevealForm) ([]byte, error) {
	var c print.Certificate
	var issued calendar.Date
	err := r.act(ctx, actor, "PrintCertificate", policy.ForFollowUp, func(ctx context.Context, a *act) error {
		row, err := a.readRegistration(ctx, donor, "")
		if err != nil {
			return err
		}
		rec := row.record()
		if err := a.standingsOf(ctx, &rec, donor); err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Identity, rec); err != nil {
			return err
		}
		var nth *int
		var region identity.Region
		var proof uuid.UUID
		err = a.QueryRow(ctx, `
			SELECT c.number, c.kind, c.region, c.nth, c.issued_on, c.proof, (SELECT o.name FROM organisations o WHERE o.id = $3) FROM certificates c WHERE c.id = $1 AND c.person_id = $2`,
			certificate, row.Person, row.Organisation).Scan(&c.Number, &c.Kind, &region, &nth, &issued, &proof, &c.Issuer)
		if errors.Is(err, pgx.ErrNoRows) {
			return missing("certificate")
		}
		if err != nil {
			return err
		}
		if nth != nil {
			c.Nth = *nth
		}
		c.Region, c.Check = region.Name(), a.publicPage("/verify/"+c.Number+"-"+proofText(proof))
		return nil
	})
	if err != nil {
		return nil, err
	}
	f.Field, f.Class = "name", ""
	if actor.Purpose == "" {
		actor.Purpose = policy.ForFollowUp
	}
	who, err := r.RevealDonor(ctx, actor, donor, f)
	if err != nil {
		return nil, err
	}
	day := issued.Start(Zone)
	c.Name, c.Day, c.DayEN = who.Name, day.Format("2006年1月2日"), day.Format("2 January 2006")
	return paper(print.CertificatePaper(c))
}

// proofText is what of a certificate's proof stands on paper: 48 bits that nobody guesses.
func proofText(proof uuid.UUID) string { return strings.ToUpper(hex.EncodeToString(proof[10:])) }

// CertificateProof says that a certificate is genuine, and no more than stands in large letters on it: nobody's name.
type CertificateProof struct {
	Number   string        `json:"number" class:"open" mask:"none"`
	Kind     string        `json:"kind" doc:"donation, honour or leave_letter" class:"open" mask:"none"`
	Says     string        `json:"says" doc:"The kind in words." class:"open" mask:"none"`
	IssuedOn calendar.Date `json:"issued_on" class:"open" mask:"none"`
}

// VerifyCertificate tells anybody who has a certificate before them whether it is genuine. code is what its square says.
//
// Errors: NotFound for a code that no certificate has, however it came to be wrong.
func (r *Reader) VerifyCertificate(ctx context.Context, code string, l lang.Locale) (CertificateProof, error) {
	var out CertificateProof
	err := r.act(ctx, System("verify"), "VerifyCertificate", policy.ForRights, func(ctx context.Context, a *act) error {
		code = strings.ToUpper(strings.TrimSpace(code))
		cut := max(strings.LastIndexByte(code, '-'), 0)
		var proof uuid.UUID
		var region identity.Region
		err := a.QueryRow(ctx, `SELECT number, kind, issued_on, proof, region FROM certificates WHERE number = $1`, code[:cut]).Scan(&out.Number, &out.Kind, &out.IssuedOn, &proof, &region)
		genuine := err == nil && subtle.ConstantTimeCompare([]byte(proofText(proof)), []byte(strings.TrimPrefix(code[cut:], "-"))) == 1
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if !genuine {
			a.decided = true
			return missing("certificate")
		}
		return a.permit(policy.Read, policy.Registration, record{kind: "certificate", id: out.Number, region: region})
	})
	if err != nil {
		return CertificateProof{}, err
	}
	out.Says = l.Say(certificateKinds[out.Kind], nil)
	return out, nil
}

// certificateKinds are the names of the titles of certificates.
var certificateKinds = map[string]string{"donation": "print.donation_title", "honour": "print.honour_title", "leave_letter": "print.leave_letter_title"}
