package registry_test

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// pdfText is the text of a PDF.
func pdfText(t *testing.T, pdf []byte) string {
	t.Helper()
	require.True(t, bytes.HasPrefix(pdf, []byte("%PDF-")))
	tool, err := exec.LookPath("pdftotext")
	if err != nil {
		return ""
	}
	c := exec.Command(tool, "-layout", "-", "-")
	c.Stdin = bytes.NewReader(pdf)
	out, err := c.Output()
	require.NoError(t, err)
	return string(out)
}

func TestACertificateIsPrintedForWhoMayRevealTheNameAndCheckedByAnybodyWithoutIt(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registry.Options{Public: "https://register.test"})
	ctx := context.Background()
	donor := h.donor(1)
	certificate := uuid.New()
	h.sql(`INSERT INTO certificates (id, number, kind, person_id, case_id, region, nth, issued_on) SELECT $1, 'CT-2026-000007', 'donation', person_id, $3, '320106', 7, '2026-11-22' FROM registrations WHERE id = $2`, certificate, donor, uuid.New())
	list, err := h.Store.ListCertificates(ctx, h.Coordinator, donor)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "CT-2026-000007", list[0].Number)

	_, err = h.Store.PrintCertificate(ctx, h.Registrar, donor, certificate, registry.RevealForm{Reason: "call_donor"})
	require.Equal(t, registry.Denied, registry.KindOf(err))
	_, err = h.Store.PrintCertificate(ctx, h.Coordinator, donor, certificate, registry.RevealForm{})
	require.Equal(t, registry.Invalid, registry.KindOf(err), "a reason is needed")
	_, err = h.Store.PrintCertificate(ctx, h.Coordinator, donor, uuid.New(), registry.RevealForm{Reason: "call_donor"})
	require.Equal(t, "certificate_not_found", registry.CodeOf(err))
	pdf, err := h.Store.PrintCertificate(ctx, h.Coordinator, donor, certificate, registry.RevealForm{Reason: "other", Note: seal.NoteOf("为捐献者颁发证书时使用")})
	require.NoError(t, err)
	if text := pdfText(t, pdf); text != "" {
		require.Contains(t, text, "张小明")
		require.Contains(t, text, "鼓楼区红十字会")
	}
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM reveals WHERE registration_id = $1 AND fields = '{name}'`, donor))

	proof := value[string](h, `SELECT upper(right(replace(proof::text, '-', ''), 12)) FROM certificates WHERE id = $1`, certificate)
	v, err := h.Store.VerifyCertificate(ctx, " ct-2026-000007-"+strings.ToLower(proof), lang.Chinese)
	require.NoError(t, err)
	require.Equal(t, registry.CertificateProof{Number: "CT-2026-000007", Kind: "donation", Says: "造血干细胞捐献证书", IssuedOn: list[0].IssuedOn}, v)
	for _, wrong := range []string{"", "CT-2026-000007", "CT-2026-000007-", "CT-2026-000007-000000000000", "CT-2026-000008-" + proof, proof, "-" + proof} {
		_, err = h.Store.VerifyCertificate(ctx, wrong, lang.Chinese)
		require.Equal(t, "certificate_not_found", registry.CodeOf(err), wrong)
	}
	// A name that the font does not have is refused, and not repeated.
	odd := volunteer(2)
	odd.Name = seal.NameOf("张\U0003106C")
	entry := h.register(h.Registrar, odd)
	if entry.Status == "created" {
		second := entry.Donors[0].ID
		h.sql(`INSERT INTO certificates (id, number, kind, person_id, case_id, region, issued_on) SELECT gen_random_uuid(), 'CT-2026-000009', 'honour', person_id, $2, '320106', '2026-11-22' FROM registrations WHERE id = $1`, second, uuid.New())
		_, err = h.Store.PrintCertificate(ctx, h.Coordinator, second, value[uuid.UUID](h, `SELECT id FROM certificates WHERE number = 'CT-2026-000009'`), registry.RevealForm{Reason: "call_donor"})
		require.Equal(t, "unprintable", registry.CodeOf(err))
		require.NotContains(t, err.Error(), "张")
	}
}

func TestADrivesLabelsAndFormsArePrintedForWhoEntersItsForms(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registry.Options{Public: "https://register.test"})
	ctx := context.Background()
	d := h.drive()
	pdf, err := h.Store.PrintLabels(ctx, h.Registrar, d.ID, registry.LabelForm{Format: "a4-65", From: "TB000098", To: "TB000101", Copies: 2})
	require.NoError(t, err)
	if text := pdfText(t, pdf); text != "" {
		for _, code := range []string{"TB000098", "TB000099", "TB000100", "TB000101"} {
			require.Equal(t, 2, strings.Count(text, code), code)
		}
		require.NotContains(t, text, "TB000102")
	}
	_, err = h.Store.PrintLabels(ctx, h.Registrar, d.ID, registry.LabelForm{Format: "a4-65"})
	require.Equal(t, "labels_too_many", registry.CodeOf(err))
	_, err = h.Store.PrintLabels(ctx, h.Registrar, d.ID, registry.LabelForm{Format: "a4-65", From: "XX000001"})
	require.Equal(t, registry.Invalid, registry.KindOf(err))
	_, err = h.Store.PrintLabels(ctx, h.Coordinator, d.ID, registry.LabelForm{Format: "a4-65", From: "TB000001", To: "TB000001"})
	require.Equal(t, registry.NotFound, registry.KindOf(err), "who may not read what is entered there")
	far := h.Staff(t, "far", h.OtherTransplant, policy.Registrar, "110108")
	_, err = h.Store.PrintConsentForms(ctx, far, d.ID, registry.ConsentPaperForm{})
	require.Equal(t, registry.NotFound, registry.KindOf(err))
	pdf, err = h.Store.PrintConsentForms(ctx, h.Registrar, d.ID, registry.ConsentPaperForm{Copies: 3})
	require.NoError(t, err)
	if text := pdfText(t, pdf); text != "" {
		require.Equal(t, 3, strings.Count(text, d.Number))
		require.Contains(t, text, "HSC-2024")
	}
	for _, programme := range []string{"organ", "cornea", "body", "blood"} {
		_, err = h.Store.PrintConsentForms(ctx, h.Registrar, d.ID, registry.ConsentPaperForm{Programme: rules.Programme(programme)})
		require.NoError(t, err, programme)
	}
}
