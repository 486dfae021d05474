package web

import (
	"io"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/rules"
)

// paperPages are what is put on paper. A browser shows a PDF itself: that is its preview.
func (s *Site) printPages() {
	s.page("GET /drives/{id}/labels", s.labels)
	s.page("GET /drives/{id}/labels.pdf", s.labelsPDF)
	s.page("GET /drives/{id}/forms.pdf", s.formsPDF)
	s.page("GET /tasks/{id}/request.pdf", s.requestPDF)
	s.page("GET /donors/{id}/certificates", s.certificates)
	s.act("POST /donors/{id}/certificates/{certificate}", s.printCertificate)
	s.page("GET /verify/{code}", s.verify, public, guarded)
}

// labelFormats are the formats of labels with the names of their sentences.
var labelFormats = [][2]string{{"a4-65", "papers.a4-65"}, {"a4-40", "papers.a4-40"}, {"a4-24", "papers.a4-24"}, {"roll-50x25", "papers.roll-50x25"}, {"roll-60x40", "papers.roll-60x40"}}

func shownPDF(v *Visit, name string, pdf []byte, err error) (Answer, error) {
	if err != nil {
		return nil, err
	}
	return v.Shown(name+".pdf", "application/pdf", func(w io.Writer) error {
		_, err := w.Write(pdf)
		return err
	}), nil
}

func (s *Site) labels(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	d, err := s.store.ShowDrive(v, v.Actor, id)
	if err != nil {
		return nil, err
	}
	return v.Page("page.labels", labelsPage(v, d), "Number", d.Number), nil
}

func (s *Site) labelsPDF(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	pdf, err := s.store.PrintLabels(v, v.Actor, id, registry.LabelForm{Format: v.Query("format"), From: v.Query("from"), To: v.Query("to"), Copies: v.QueryInt("copies")})
	return shownPDF(v, "labels", pdf, err)
}

func (s *Site) formsPDF(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	pdf, err := s.store.PrintConsentForms(v, v.Actor, id, registry.ConsentPaperForm{Programme: rules.Programme(v.Query("programme")), Copies: v.QueryInt("copies")})
	return shownPDF(v, "forms", pdf, err)
}

func (s *Site) requestPDF(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	pdf, err := s.store.PrintRequest(v, v.Actor, id)
	return shownPDF(v, "request", pdf, err)
}

func (s *Site) certificates(v *Visit) (Answer, error) {
	return s.certificatesAgain(v, Blank[registry.RevealForm](v))
}

func (s *Site) certificatesAgain(v *Visit, f *Filled) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	list, err := s.store.ListCertificates(v, v.Actor, id)
	if err != nil {
		return nil, err
	}
	return v.Page("page.certificates", certificatesPage(v, id, list, f)), nil
}

func (s *Site) printCertificate(v *Visit) (Answer, error) {
	donor, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	certificate, err := v.ID("certificate")
	if err != nil {
		return nil, err
	}
	f, filled := Read[registry.RevealForm](v)
	if !filled.Good() {
		return s.certificatesAgain(v, filled)
	}
	pdf, err := s.store.PrintCertificate(v, v.Actor, donor, certificate, f)
	if err != nil && filled.Takes(err) {
		return s.certificatesAgain(v, filled)
	}
	v.SetHeader("Cache-Control", "no-store")
	return shownPDF(v, "certificate", pdf, err)
}

func (s *Site) verify(v *Visit) (Answer, error) {
	proof, err := s.store.VerifyCertificate(v, v.Path("code"), v.Locale)
	if err != nil {
		return nil, err
	}
	return v.Bare("page.verify", verifyPage(v, proof)), nil
}
