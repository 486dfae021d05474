package api

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/rules"
)

const pdfType = "application/pdf"

// paperFile is an answer that is a PDF without anybody's name.
type paperFile struct {
	ContentType string `header:"Content-Type" class:"open" mask:"none"`
	Disposition string `header:"Content-Disposition" class:"open" mask:"none"`
	Body        []byte `class:"drive" mask:"drop"`
}

// namedPaper is an answer that is a PDF with a name in clear.
type namedPaper struct {
	ContentType string `header:"Content-Type" class:"open" mask:"none"`
	Disposition string `header:"Content-Disposition" class:"open" mask:"none"`
	Body        []byte `class:"identity" mask:"clear"`
}

// Certificates are a donor's.
type Certificates struct {
	Items []registry.CertificateView `json:"items" class:"case" mask:"drop"`
}

// printRoutes are what is put on paper.
func (a *API) printRoutes() {
	inline := func(name string) string { return `inline; filename="` + name + `.pdf"` }
	route(a, operation{method: http.MethodGet, path: "/v1/drives/{id}/labels.pdf", id: "print-labels", tag: "drives", says: "The labels of a drive's tubes, for a sheet or a roll.", gives: pdfType},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Format string `query:"format" enum:"a4-65,a4-40,a4-24,roll-50x25,roll-60x40"`
			From   string `query:"from" doc:"The first barcode; the drive's first when left out."`
			To     string `query:"to" doc:"The last; the drive's last when left out."`
			Copies int    `query:"copies" doc:"Of each label: one for the tube, one for the form. One when left out."`
		}) (*paperFile, error) {
			pdf, err := a.store.PrintLabels(ctx, who, in.ID, registry.LabelForm{Format: in.Format, From: in.From, To: in.To, Copies: in.Copies})
			return &paperFile{pdfType, inline("labels"), pdf}, err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/drives/{id}/forms.pdf", id: "print-consent-forms", tag: "drives", says: "Forms to be signed at a drive, in the wording that is in force then.", gives: pdfType},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Programme string `query:"programme" enum:"stemcell,organ,cornea,body,blood" doc:"Stem cells when left out."`
			Copies    int    `query:"copies" doc:"One when left out."`
		}) (*paperFile, error) {
			pdf, err := a.store.PrintConsentForms(ctx, who, in.ID, registry.ConsentPaperForm{Programme: rules.Programme(in.Programme), Copies: in.Copies})
			return &paperFile{pdfType, inline("forms"), pdf}, err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/tasks/{id}/request.pdf", id: "print-request", tag: "tasks", says: "What a task asks for, as a page for a file or a box. It names nobody.", gives: pdfType},
		func(ctx context.Context, who registry.Actor, in *ByID) (*paperFile, error) {
			pdf, err := a.store.PrintRequest(ctx, who, in.ID)
			return &paperFile{pdfType, inline("request"), pdf}, err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/donors/{id}/certificates", id: "list-certificates", tag: "donors", says: "The certificates that a donor was given."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Plain[Certificates], error) {
			list, err := a.store.ListCertificates(ctx, who, in.ID)
			return plain(Certificates{list}), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/donors/{id}/certificates/{certificate}/print", id: "print-certificate", tag: "donors", says: "A certificate, with the donor's name in clear, for a reason that is written down.", body: registry.RevealForm{}, gives: pdfType, scope: "donors:reveal", braked: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Certificate uuid.UUID `path:"certificate"`
			Sent
		}) (*namedPaper, error) {
			f, err := decode[registry.RevealForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			pdf, err := a.store.PrintCertificate(ctx, who, in.ID, in.Certificate, f)
			return &namedPaper{pdfType, inline("certificate"), pdf}, err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/certificates/{code}", id: "verify-certificate", tag: "service", says: "Whether a certificate on paper is genuine: its kind and its day, and nobody's name.", public: true, guarded: true},
		func(ctx context.Context, _ registry.Actor, in *struct {
			Code string `path:"code" maxLength:"60" doc:"As its square says it."`
		}) (*Plain[registry.CertificateProof], error) {
			v, err := a.store.VerifyCertificate(ctx, in.Code, requestOf(ctx).locale())
			return plain(v), err
		})
}
