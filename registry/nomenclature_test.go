package registry_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
)

// releaseFiles are a release made up for tests: the alleles of gl and some more, of which others may be left out or added.
func releaseFiles(version string, change ...string) map[string][]byte {
	alleles := []string{
		"A*02:01:01", "A*02:05", "A*02:15N", "A*11:01", "C*01:02", "C*08:01", "B*15:02", "B*46:01", "DRB1*09:01", "DRB1*12:02", "DQB1*03:01", "DQB1*03:03", "A*01:01", "C*07:01", "B*08:01",
		"DRB1*03:01", "DQB1*02:01",
	}
	groups := "A*;02:01:01/02:05;02:01P\n"
	for _, c := range change {
		if group, is := strings.CutPrefix(c, "no "); is && strings.Contains(group, "P") {
			groups = ""
		} else if is {
			alleles = without(alleles, group)
		} else {
			alleles = append(alleles, c)
		}
	}
	heading := "# version: IPD-IMGT/HLA " + version + "\n"
	return map[string][]byte{
		"Allele_status.txt":    []byte(heading + strings.Join(alleles, ",1,1\n") + ",1,1\n"),
		"wmda/hla_nom_p.txt":   []byte(heading + groups),
		"wmda/hla_nom_g.txt":   []byte(heading + "A*;02:01:01/02:15N;02:01:01G\n"),
		"wmda/rel_dna_ser.txt": []byte(heading + "A*;02:01:01;2;;;\nB*;46:01;46;;;\n"),
	}
}

func without(list []string, one string) (out []string) {
	for _, s := range list {
		if s != one {
			out = append(out, s)
		}
	}
	return out
}

func (h *house) load(kind registry.ReferenceKind, name string, files map[string][]byte) registry.Reference {
	h.t.Helper()
	r, fresh, err := h.Store.LoadReference(context.Background(), registry.Operator("test"), kind, name, files, nil)
	require.NoError(h.t, err)
	require.True(h.t, fresh)
	return r
}

func codeTable(lines string) map[string][]byte {
	return map[string][]byte{"alpha.v3": []byte("CODE\tSUBTYPE\n\n" + lines)}
}

func TestAReleaseIsKeptOnceAndOnlyIfItCanBeRead(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	operator := registry.Operator("test")
	first := h.load(registry.ReferenceRelease, "", releaseFiles("3.57.0"))
	require.Equal(t, "3.57.0", first.Name)
	require.Equal(t, 17, first.Names)
	require.EqualValues(t, 1, first.Metadata["p_groups"])
	require.True(t, first.Newest)
	again, fresh, err := h.Store.LoadReference(ctx, operator, registry.ReferenceRelease, "3.57.0", releaseFiles("3.57.0"), nil)
	require.NoError(t, err)
	require.False(t, fresh)
	require.Equal(t, first, again)
	mended, fresh, err := h.Store.LoadReference(ctx, operator, registry.ReferenceRelease, "", releaseFiles("3.57.0", "A*30:01"), map[string]any{"from": "a disc"})
	require.NoError(t, err)
	require.True(t, fresh)
	require.Equal(t, "a disc", mended.Metadata["from"])
	codes := h.load(registry.ReferenceCodes, "alpha.v3", codeTable("AB\t01/05\n"))
	require.Equal(t, 1, codes.Names)
	h.load(registry.ReferenceHaplotypes, "NCHI", map[string][]byte{"NCHI.freqs": []byte(hanHaplotypes)})

	list, err := h.Store.ListReferences(ctx, h.Registrar, "", [16]byte{}, 0)
	require.NoError(t, err)
	require.Len(t, list, 4)
	require.Equal(t, []bool{false, true, true, true}, []bool{list[0].Newest, list[1].Newest, list[2].Newest, list[3].Newest})
	require.Equal(t, []bool{false, true, true, true}, []bool{list[0].InUse, list[1].InUse, list[2].InUse, list[3].InUse})
	list, err = h.Store.ListReferences(ctx, h.Registrar, registry.ReferenceCodes, [16]byte{}, 0)
	require.NoError(t, err)
	require.Equal(t, []registry.Reference{codes}, list)

	for what, c := range map[string]struct {
		kind  registry.ReferenceKind
		name  string
		files map[string][]byte
		says  string
	}{
		"no file":            {registry.ReferenceRelease, "", nil, "there is no file"},
		"a line":             {registry.ReferenceRelease, "", releaseFiles("3.58.0", "A*02"), "Allele_status.txt, line 19"},
		"another release":    {registry.ReferenceRelease, "3.58.0", releaseFiles("3.57.0"), "of release 3.57.0"},
		"no codes":           {registry.ReferenceCodes, "alpha.v3", map[string][]byte{"alpha.v3": nil}, "no code"},
		"two tables":         {registry.ReferenceCodes, "alpha.v3", map[string][]byte{"a": []byte("AB\t01/02\n"), "b": nil}, "one file"},
		"codes without name": {registry.ReferenceCodes, " ", codeTable("AB\t01/02\n"), "no name"},
		"a kind":             {"rumours", "x", codeTable("AB\t01/02\n"), "no kind"},
		"a path":             {registry.ReferenceHaplotypes, "x", map[string][]byte{"../x": []byte("x")}, "no name of a file"},
	} {
		_, _, err := h.Store.LoadReference(ctx, operator, c.kind, c.name, c.files, nil)
		requireCode(t, err, registry.Invalid, "reference_unreadable")
		require.ErrorContains(t, err, c.says, what)
	}
	require.Equal(t, 4, value[int](h, `SELECT count(*)::int FROM reference_data`))

	// Who looks after the whole installation loads, nobody else.
	system := h.Staff(t, "nation", h.County, policy.SystemAdministrator, string(identity.Nation))
	for who, by := range map[string]registry.Actor{"a registrar": h.Registrar, "a laboratory": h.Technician, "an administrator of a province": h.Staff(t, "province", h.County, policy.SystemAdministrator, "320000")} {
		_, _, err = h.Store.LoadReference(ctx, by, registry.ReferenceCodes, "alpha.v3", codeTable("AB\t01/06\n"), nil)
		requireCode(t, err, registry.Denied, "denied")
		_, err = h.Store.ReviewTypings(ctx, by, first.ID)
		require.Equal(t, registry.Denied, registry.KindOf(err), who)
	}
	_, _, err = h.Store.LoadReference(ctx, system, registry.ReferenceCodes, "alpha.v3", codeTable("AB\t01/06\n"), nil)
	require.NoError(t, err)
	library, err := h.Store.Nomenclature(ctx, h.Registrar)
	require.NoError(t, err)
	require.Equal(t, []string{"3.57.0"}, library.Versions())
	for _, statement := range []string{`DELETE FROM reference_data`, `UPDATE reference_data SET names = 0`} {
		for _, role := range []string{"liferelay_service", "liferelay_register"} {
			require.ErrorContains(t, h.as(role, statement), "permission denied", "%s as %s", statement, role)
		}
	}
}

// as runs a statement as one of the roles of the second wall.
func (h *house) as(role, statement string) error {
	h.t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, h.url)
	require.NoError(h.t, err)
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, `SET ROLE `+role)
	require.NoError(h.t, err)
	_, err = conn.Exec(ctx, statement)
	return err
}

func TestOfManyWhoLoadTheSameAtOnceItIsKeptOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var todo []func() error
	for range 6 {
		todo = append(todo, func() error {
			_, _, err := h.Store.LoadReference(context.Background(), registry.Operator("test"), registry.ReferenceRelease, "", releaseFiles("3.57.0"), nil)
			return err
		})
	}
	for _, err := range atOnce(todo...) {
		require.NoError(t, err)
	}
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM reference_data`))
}

func TestANewReleaseIsInForceForTheNextActOfEveryProcessAndIsNotified(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	other := h.open(registry.Options{})
	conn, err := pgx.Connect(ctx, h.url)
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, `LISTEN liferelay_reference`)
	require.NoError(t, err)
	for _, version := range []string{"3.9.0", "3.57.0", "3.10.0"} {
		h.load(registry.ReferenceRelease, "", releaseFiles(version))
		waiting, cancel := context.WithTimeout(ctx, 10*time.Second)
		told, err := conn.WaitForNotification(waiting)
		cancel()
		require.NoError(t, err)
		require.Equal(t, "liferelay_reference", told.Channel)
		for _, process := range []*registry.Store{h.Store, other} {
			library, err := process.Nomenclature(ctx, h.Registrar)
			require.NoError(t, err)
			require.NotNil(t, library.Release(version))
		}
	}
	library, err := other.Nomenclature(ctx, h.Registrar)
	require.NoError(t, err)
	require.Equal(t, []string{"3.57.0", "3.10.0", "3.9.0"}, library.Versions())
	same, err := other.Nomenclature(ctx, h.Registrar)
	require.NoError(t, err)
	require.Same(t, library, same, "it is read once")
}

// rest is gl but for locus A.
func rest() string { return gl[strings.IndexByte(gl, '^'):] }

func (h *house) patientOf(typing, version string) (registry.PatientView, error) {
	return h.Store.AddPatient(context.Background(), h.TransplantDoctor, forms.Patient{
		BirthYear: 2015, Sex: identity.Male, Diagnosis: "C91.0", WeightKG: 30, Urgency: "urgent", GL: typing, Nomenclature: version, ConsentOn: today(),
	})
}

func TestTypingsOfEveryFormAreReadByTheNomenclatureThatIsLoaded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	refusedBy := func(typing, version, code string, args map[string]any) {
		t.Helper()
		_, err := h.patientOf(typing, version)
		requireProblem(t, err, code, "gl")
		var e *registry.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, args, e.Problems[0].Args)
		for _, says := range []string{e.Problems[0].Says("en"), e.Problems[0].Says("zh-CN")} {
			require.NotContains(t, says, typing)
			require.NotContains(t, says, "77")
			require.NotContains(t, says, "<no value>")
		}
	}
	// Without a release names of two fields are taken as before, and what only a release can say is not.
	plain, err := h.patientOf("A*77:77+A*0201"+rest(), "3.57.0")
	require.NoError(t, err)
	require.Equal(t, "HLA-A*02:01+HLA-A*77:77"+rest(), plain.GL)
	refusedBy("A*02:01:01G+A*11:01"+rest(), "3.57.0", "R146", map[string]any{"Position": 1, "Reason": "release", "Locus": "A"})
	refusedBy("A*11:01+A*02:AB"+rest(), "3.57.0", "R146", map[string]any{"Position": 9, "Reason": "release", "Locus": "A"})
	refusedBy("A*11:01+a*77:01"+rest(), "3.57.0", "R124", map[string]any{"Position": 9, "Reason": "malformed", "Locus": "A"})

	h.load(registry.ReferenceRelease, "", releaseFiles("3.57.0"))
	h.load(registry.ReferenceRelease, "", releaseFiles("3.56.0", "A*77:01"))
	h.load(registry.ReferenceCodes, "alpha.v3", codeTable("AB\t01/05\n"))
	for typing, kept := range map[string]string{
		"A*02:01:01G+A*11:01":         "HLA-A*02:01:01G+HLA-A*11:01",
		"A2+A*11:XX":                  "HLA-A*11:XX+HLA-A2",
		"A*02:AB+A*11":                "HLA-A*02:AB+HLA-A*11",
		"A*02:01/05+A*11:01":          "HLA-A*02:01/HLA-A*02:05+HLA-A*11:01",
		"hla#3.57.0#A*11:01+A*02:01P": "HLA-A*02:01P+HLA-A*11:01",
	} {
		p, err := h.patientOf(typing+rest(), "3.57.0")
		require.NoError(t, err, typing)
		require.Equal(t, kept+rest(), p.GL)
		require.Equal(t, "3.57.0", p.Nomenclature)
	}
	refusedBy("A*02:77+A*11:01"+rest(), "3.57.0", "R146", map[string]any{"Position": 1, "Reason": "unknown", "Locus": "A"})
	refusedBy("A*11:01+A*02:ZZ"+rest(), "3.57.0", "R146", map[string]any{"Position": 9, "Reason": "mac", "Locus": "A"})
	refusedBy("hla#3.56.0#A*11:01+A*02:01"+rest(), "3.57.0", "R146", map[string]any{"Reason": "other-version"})
	refusedBy("A*11:01+A*77:01"+rest(), "3.57.0", "R146", map[string]any{"Position": 9, "Reason": "unknown", "Locus": "A"})
	old, err := h.patientOf("A*11:01+A*77:01"+rest(), "3.56.0")
	require.NoError(t, err, "the release of the typing has it")
	require.Equal(t, "3.56.0", old.Nomenclature)

	// A search needs its loci, be they certain or not.
	require.NoError(t, open(h, old))
	left, err := h.patientOf("A*02:01/05+A*11:01"+rest(), "3.57.0")
	require.NoError(t, err)
	require.NoError(t, open(h, left))
	without, err := h.patientOf(strings.TrimPrefix(rest(), "^"), "3.57.0")
	require.NoError(t, err)
	requireProblem(t, open(h, without), "R143", "patient")
}

func open(h *house, p registry.PatientView) error {
	_, err := h.Store.OpenSearch(context.Background(), h.TransplantDoctor, registry.SearchForm{Patient: p.ID})
	return err
}

func TestALaboratoryReportsTypingsOfEveryForm(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.load(registry.ReferenceRelease, "", releaseFiles("3.57.0"))
	h.load(registry.ReferenceCodes, "alpha.v3", codeTable("AB\t01/05\n"))
	drive := h.drive()
	h.sampled(drive, 1, 2, 3)
	h.receive(h.send(drive), registry.ReceiveForm{})
	ctx := context.Background()
	report := func(reports ...forms.TypingReport) []registry.TypingResult {
		results, err := h.Store.ReportTypings(ctx, h.Technician, reports)
		require.NoError(t, err)
		return results
	}
	results := report(typing(barcode(1), "A*11:01+A*02:AB"+rest()), typing(barcode(2), "A*02:77+A*11:01"+rest()), typing(barcode(3), "A2+A*11:01^B*46:01+B*15:02"))
	require.Equal(t, "accepted", results[0].Status, "%+v", results[0])
	require.Equal(t, "refused", results[1].Status)
	require.Equal(t, "R146", results[1].Problems[0].Code)
	require.Equal(t, map[string]any{"Position": 1, "Locus": "A", "Reason": "unknown"}, results[1].Problems[0].Args)
	require.Equal(t, "R143", results[2].Problems[0].Code)
	require.Equal(t, []string{"HLA-A*02:AB+HLA-A*11:01" + rest()}, values[string](h, `SELECT gl_string FROM typings`))
	require.Equal(t, "known", report(typing(barcode(1), "HLA-A*02:AB + A*11:01"+rest()))[0].Status, "the same, written otherwise")
	require.Equal(t, "typing_differs", report(typing(barcode(1), "A*02:01+A*11:01"+rest()))[0].Code)
}

func TestWhatANewReleaseChangesInTheTypingsIsCountedAndNoRowIsChanged(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	operator := registry.Operator("test")
	h.load(registry.ReferenceRelease, "", releaseFiles("3.57.0"))
	for i, typing := range []string{"A*02:05+A*11:01", "A*02:01P+A*11:01", "A*02:XX+A*11:01", "A*11:01+A*11:01", "A*11:01+A*11:01"} {
		version := "3.57.0"
		if i == 3 {
			version = "2024"
		}
		_, err := h.patientOf(typing+rest(), version)
		require.NoError(t, err)
	}
	h.sql(`UPDATE patients SET gl_string = replace(gl_string, 'A*11:01+HLA-A*11:01', 'A*99:99+HLA-A*11:01') WHERE nomenclature = '2024'`)
	rows := values[string](h, `SELECT gl_string || nomenclature || version FROM patients ORDER BY id`)
	// It has one allele more behind 02, and no groups any more.
	newer := h.load(registry.ReferenceRelease, "", releaseFiles("3.58.0", "A*02:99", "no A*02:05", "no 02:01P"))
	got, err := h.Store.ReviewTypings(ctx, operator, newer.ID)
	require.NoError(t, err)
	// What the new one has no more is read by the one that the typing was made under, but it is in another group now.
	require.Equal(t, registry.TypingReview{Typings: 5, Otherwise: 3, Unread: 1}, got)
	require.Equal(t, rows, values[string](h, `SELECT gl_string || nomenclature || version FROM patients ORDER BY id`))

	older := h.load(registry.ReferenceRelease, "", releaseFiles("3.40.0"))
	got, err = h.Store.ReviewTypings(ctx, operator, older.ID)
	require.NoError(t, err)
	require.Equal(t, registry.TypingReview{Typings: 5, Unread: 1}, got, "one that is not the newest changes nothing")

	// A release that is mended: typings made under it may be read no more.
	mended := h.load(registry.ReferenceRelease, "", releaseFiles("3.57.0", "no A*02:05"))
	got, err = h.Store.ReviewTypings(ctx, operator, mended.ID)
	require.NoError(t, err)
	require.Equal(t, registry.TypingReview{Typings: 5, NoMore: 1, Unread: 1}, got)
	_, err = h.Store.ReviewTypings(ctx, operator, h.County.ID)
	requireCode(t, err, registry.NotFound, "reference_not_found")
}
