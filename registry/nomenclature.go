package registry

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/hla"
)

// What an installation loads itself, because its licences do not let us ship it, is kept in one table. Each process reads it once, and
// again when the revision has changed: whoever reads a typing asks for the revision first, so a new release is in force for the next act of
// every process, as grants are. A change is notified on the channel liferelay_reference too, for who keeps something ready by it.

// ReferenceKind is what was loaded.
type ReferenceKind string

// The kinds.
const (
	ReferenceRelease    ReferenceKind = "release"    // of IPD-IMGT/HLA
	ReferenceCodes      ReferenceKind = "codes"      // the table of multiple-allele codes
	ReferenceHaplotypes ReferenceKind = "haplotypes" // of a population, with their frequencies
	ReferenceMixture    ReferenceKind = "mixture"    // which populations the people of a province draw from
)

// Reference is something that was loaded.
type Reference struct {
	ID       uuid.UUID      `json:"id" class:"organisation" mask:"drop"`
	Kind     ReferenceKind  `json:"kind" doc:"release, codes, haplotypes (of a population) or mixture (which populations a province draws from)" class:"organisation" mask:"drop"`
	Name     string         `json:"name" doc:"Of a release its version, such as 3.57.0." class:"organisation" mask:"drop"`
	SHA256   string         `json:"sha256" doc:"Of the files." class:"organisation" mask:"drop"`
	Size     int64          `json:"size" doc:"Of the files, in bytes." class:"organisation" mask:"drop"`
	Names    int            `json:"names" doc:"How many alleles, codes or haplotypes there are, or lines of a mixture." class:"organisation" mask:"drop"`
	Metadata map[string]any `json:"metadata" doc:"What its loader said of it, and counts." class:"organisation" mask:"drop"`
	LoadedAt time.Time      `json:"loaded_at" class:"organisation" mask:"drop"`
	LoadedBy string         `json:"loaded_by" class:"organisation" mask:"drop"`
	Newest   bool           `json:"newest" doc:"Of those of its kind and name the last." class:"organisation" mask:"drop"`
	InUse    bool           `json:"in_use" doc:"The register goes by it. Of a population: somebody draws from it. Of several without a mixture nobody does, and no chances are counted." class:"organisation" mask:"drop"`
}

const referenceColumns = `d.id, d.kind, d.name, encode(d.sha256, 'hex'), d.size, d.names, d.metadata, d.loaded_at, d.loaded_by,
	NOT EXISTS (SELECT FROM reference_data later WHERE later.kind = d.kind AND later.name = d.name AND later.id > d.id),
	NOT EXISTS (SELECT FROM reference_data later WHERE later.kind = d.kind AND (later.name = d.name OR d.kind = 'codes') AND later.id > d.id)
		AND (d.kind <> 'haplotypes' OR coalesce((SELECT m.metadata->'populations' ? d.name FROM reference_data m WHERE m.kind = 'mixture' ORDER BY m.id DESC LIMIT 1),
			NOT EXISTS (SELECT FROM reference_data other WHERE other.kind = 'haplotypes' AND other.name <> d.name)))`

// referenceRecord is what the policy is asked about: it is the whole installation's.
func referenceRecord(id string) record { return record{kind: "reference", id: id, region: nation} }

// LoadReference keeps files of a kind under a name, which of a release may be empty: then it is its version. They are read first, and nothing
// is kept that cannot be read. Loading again what is the newest of its name changes nothing, and fresh is false. There is one mixture, and its name may be
// empty too; populations are loaded before it.
//
// Errors: Invalid reference_unreadable, whose Args tell the file, the line and what is wrong; Invalid population_loci.
func (s *Store) LoadReference(ctx context.Context, actor Actor, kind ReferenceKind, name string, files map[string][]byte, metadata map[string]any) (out Reference, fresh bool, err error) {
	err = s.act(ctx, actor, "LoadReference", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if err := a.permit(policy.Write, policy.Organisation, referenceRecord(string(kind))); err != nil {
			return err
		}
		packed, err := pack(files)
		if err != nil {
			return err
		}
		name, names, counts, err := examine(kind, name, packed)
		if err != nil {
			return err
		}
		// Of two who load the same at once one waits for the other.
		if _, err := a.Exec(ctx, `SELECT FROM reference_revision FOR UPDATE`); err != nil {
			return err
		}
		out, err = a.oneReference(ctx, `d.kind = $1 AND d.name = $2 ORDER BY d.id DESC LIMIT 1`, kind, name)
		if err == nil && out.SHA256 == packed.sha256() {
			return nil
		}
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		switch kind { // what depends on other rows
		case ReferenceMixture:
			names, counts, err = a.examineMixture(ctx, packed)
		case ReferenceHaplotypes:
			err = a.stillMixes(ctx, name, packed)
		default:
			err = nil
		}
		if err != nil {
			return err
		}
		kept := maps.Clone(metadata)
		if kept == nil {
			kept = map[string]any{}
		}
		maps.Copy(kept, counts)
		id := newID()
		if _, err := a.Exec(ctx, `INSERT INTO reference_data (id, kind, name, archive, sha256, size, names, metadata, loaded_at, loaded_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
			id, kind, name, packed.archive, packed.sum[:], packed.size, names, kept, a.at, a.actor.subject); err != nil {
			return err
		}
		fresh = true
		out, err = a.oneReference(ctx, `d.id = $1`, id)
		return err
	})
	return out, fresh, err
}

func (a *act) oneReference(ctx context.Context, where string, args ...any) (Reference, error) {
	rows, err := a.Query(ctx, `SELECT `+referenceColumns+` FROM reference_data d WHERE `+where, args...)
	if err != nil {
		return Reference{}, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Reference])
}

// ListReferences returns what was loaded, in the order in which it was; kind narrows it, empty is all.
func (r *Reader) ListReferences(ctx context.Context, actor Actor, kind ReferenceKind, after uuid.UUID, limit int) ([]Reference, error) {
	var out []Reference
	err := r.act(ctx, actor, "ListReferences", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if err := a.permit(policy.Read, policy.Organisation, referenceRecord("list")); err != nil {
			return err
		}
		rows, err := a.Query(ctx, `SELECT `+referenceColumns+` FROM reference_data d WHERE ($1 = '' OR d.kind = $1) AND d.id > $2 ORDER BY d.id LIMIT $3`, kind, after, pageSize(limit))
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Reference])
		return err
	})
	return out, err
}

// Nomenclature is what the register reads typings by; it is empty where nothing was loaded.
func (r *Reader) Nomenclature(ctx context.Context, actor Actor) (*hla.Library, error) {
	var out *hla.Library
	err := r.act(ctx, actor, "Nomenclature", policy.ForAdministration, func(ctx context.Context, a *act) (err error) {
		if err := a.permit(policy.Read, policy.Organisation, referenceRecord("nomenclature")); err != nil {
			return err
		}
		out, err = a.nomenclatureIn(ctx, a.Tx)
		return err
	})
	return out, err
}

// packed are files as they are kept.
type packed struct {
	archive []byte
	sum     [sha256.Size]byte
	size    int64
}

func (p packed) sha256() string { return hex.EncodeToString(p.sum[:]) }

func (p packed) open() (*zip.Reader, error) {
	return zip.NewReader(bytes.NewReader(p.archive), int64(len(p.archive)))
}

// pack puts files into an archive. The digest is of their names and contents, so it is the same whatever packs them.
func pack(files map[string][]byte) (packed, error) {
	var out packed
	var to bytes.Buffer
	z, sum := zip.NewWriter(&to), sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !fs.ValidPath(name) || name == "." {
			return out, spoiled(fmt.Errorf("%q is no name of a file in a folder", name))
		}
		var lengths [16]byte
		binary.BigEndian.PutUint64(lengths[:8], uint64(len(name)))
		binary.BigEndian.PutUint64(lengths[8:], uint64(len(files[name])))
		for _, part := range [][]byte{lengths[:], []byte(name), files[name]} {
			sum.Write(part)
		}
		file, err := z.Create(name)
		if err == nil {
			_, err = file.Write(files[name])
		}
		if err != nil {
			return out, err
		}
		out.size += int64(len(files[name]))
	}
	if err := z.Close(); err != nil {
		return out, err
	}
	out.archive = to.Bytes()
	sum.Sum(out.sum[:0])
	return out, nil
}

// examine reads files to see that they can be read: how they are called, how many names they have, and what else is worth telling.
func examine(kind ReferenceKind, name string, p packed) (called string, names int, counts map[string]any, err error) {
	folder, err := p.open()
	if err != nil {
		return "", 0, nil, err
	}
	if len(folder.File) == 0 {
		return "", 0, nil, spoiled(errors.New("there is no file"))
	}
	switch kind {
	case ReferenceRelease:
		r, err := hla.LoadRelease(folder)
		if err != nil {
			return "", 0, nil, spoiled(err)
		}
		if name != "" && name != r.Version() {
			return "", 0, nil, spoiled(fmt.Errorf("the files are of release %s, and not of %s", r.Version(), name))
		}
		return r.Version(), r.Size(), map[string]any{"p_groups": r.Groups()}, nil
	case ReferenceCodes:
		c, err := readCodes(folder)
		if err != nil {
			return "", 0, nil, spoiled(err)
		}
		return name, c.Size(), nil, needName(name)
	case ReferenceHaplotypes:
		names, counts, err = examinePopulation(name, folder)
		return name, names, counts, err
	case ReferenceMixture:
		if name != "" && name != MixtureName {
			return "", 0, nil, spoiled(fmt.Errorf("there is one mixture, and its name is %s, not %s", MixtureName, name))
		}
		return MixtureName, 0, nil, nil
	}
	return "", 0, nil, spoiled(fmt.Errorf("%q is no kind of reference data", kind))
}

func needName(name string) error {
	if strings.TrimSpace(name) == "" {
		return spoiled(errors.New("it has no name"))
	}
	return nil
}

// readCodes reads a table of codes, which is the only file of its archive.
func readCodes(folder *zip.Reader) (c *hla.Codes, err error) {
	if len(folder.File) != 1 {
		return nil, errors.New("a table of codes is one file")
	}
	file, err := folder.File[0].Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return hla.ReadCodes(file)
}

func spoiled(cause error) *Error {
	args := map[string]any{"What": strings.TrimPrefix(cause.Error(), "hla: ")}
	if line := (*hla.ReleaseError)(nil); errors.As(cause, &line) {
		args["File"], args["Line"] = line.File, line.Line
	}
	return &Error{Kind: Invalid, Code: "reference_unreadable", Args: args, cause: cause}
}

// references are what this process has read of the table.
type references struct {
	now     atomic.Pointer[readBy]
	loading sync.Mutex
	parts   map[uuid.UUID]any // *hla.Release or *hla.Codes, guarded by loading
	drawn   drawn
}

// readBy is a library of one revision.
type readBy struct {
	revision int64
	library  *hla.Library
}

// querier is a transaction, or the pool.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// nomenclature is what typings are read by now; it is empty where nothing was loaded. Called before an act begins it holds up nobody else's
// locks while a new release is read.
func (r *Reader) nomenclature(ctx context.Context) (*hla.Library, error) {
	library, err := r.nomenclatureIn(ctx, r.pool)
	return library, translate(err)
}

// nomenclatureIn is nomenclature over the connection of an act.
func (r *Reader) nomenclatureIn(ctx context.Context, q querier) (*hla.Library, error) {
	var revision int64
	if err := q.QueryRow(ctx, `SELECT revision FROM reference_revision`).Scan(&revision); err != nil {
		return nil, err
	}
	known := func() *hla.Library {
		if by := r.references.now.Load(); by != nil && by.revision >= revision {
			return by.library
		}
		return nil
	}
	if library := known(); library != nil {
		return library, nil
	}
	r.references.loading.Lock() // only those who need the new one wait
	defer r.references.loading.Unlock()
	if library := known(); library != nil {
		return library, nil
	}
	library, err := r.references.library(ctx, q, uuid.Nil)
	if err == nil {
		r.references.now.Store(&readBy{revision, library})
	}
	return library, err
}

// library reads the newest of every name, as if one row were not there. What was read before is not read again. The caller holds loading.
func (c *references) library(ctx context.Context, q querier, without uuid.UUID) (*hla.Library, error) {
	rows, err := q.Query(ctx, `
		SELECT DISTINCT ON (CASE kind WHEN 'codes' THEN '' ELSE name END, kind) id FROM reference_data WHERE kind IN ('release', 'codes') AND id <> $1
		ORDER BY CASE kind WHEN 'codes' THEN '' ELSE name END, kind, id DESC`, without)
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return nil, err
	}
	parts := map[uuid.UUID]any{}
	var releases []*hla.Release
	var codes *hla.Codes
	for _, id := range ids {
		part := c.parts[id]
		if part == nil {
			if part, err = readReference(ctx, q, id); err != nil {
				return nil, err
			}
		}
		parts[id] = part
		switch part := part.(type) {
		case *hla.Release:
			releases = append(releases, part)
		case *hla.Codes:
			codes = part
		}
	}
	if without == uuid.Nil {
		c.parts = parts
	}
	return hla.NewLibrary(codes, releases...), nil
}

func readReference(ctx context.Context, q querier, id uuid.UUID) (any, error) {
	var kind ReferenceKind
	var p packed
	if err := q.QueryRow(ctx, `SELECT kind, archive FROM reference_data WHERE id = $1`, id).Scan(&kind, &p.archive); err != nil {
		return nil, err
	}
	folder, err := p.open()
	if err != nil {
		return nil, err
	}
	if kind == ReferenceCodes {
		return readCodes(folder)
	}
	return hla.LoadRelease(folder)
}

// TypingReview says what a release or a table of codes changes in the typings that the register holds. Typings that are written alike and
// were made under the same nomenclature count once.
type TypingReview struct {
	Typings   int `json:"typings" class:"open" mask:"none"`
	Otherwise int `json:"otherwise" doc:"Read otherwise than without it: other alleles, or other groups." class:"open" mask:"none"`
	NoMore    int `json:"no_more" doc:"Read without it, and not with it." class:"open" mask:"none"`
	Unread    int `json:"unread" doc:"Read neither with it nor without it." class:"open" mask:"none"`
}

// ReviewTypings reads every typing with and without something that was loaded, and counts. It changes no row.
//
// Errors: NotFound reference_not_found.
func (s *Store) ReviewTypings(ctx context.Context, actor Actor, id uuid.UUID) (TypingReview, error) {
	var out TypingReview
	err := s.act(ctx, actor, "ReviewTypings", policy.ForAdministration, func(ctx context.Context, a *act) error {
		out = TypingReview{}
		if err := a.permit(policy.Write, policy.Organisation, referenceRecord(id.String())); err != nil {
			return err
		}
		if _, err := a.oneReference(ctx, `d.id = $1`, id); errors.Is(err, pgx.ErrNoRows) {
			return missing("reference")
		} else if err != nil {
			return err
		}
		with, err := a.nomenclatureIn(ctx, a.Tx)
		if err != nil {
			return err
		}
		a.references.loading.Lock()
		without, err := a.references.library(ctx, a.Tx, id)
		a.references.loading.Unlock()
		if err != nil {
			return err
		}
		rows, err := a.Query(ctx, `
			SELECT gl_string, nomenclature FROM typings WHERE current AND gl_string <> '' UNION SELECT gl_string, nomenclature FROM patients WHERE gl_string <> ''`)
		if err != nil {
			return err
		}
		var gl, version string
		_, err = pgx.ForEachRow(rows, []any{&gl, &version}, func() error {
			before, readBefore := standsFor(without.Reader(version), gl)
			now, readNow := standsFor(with.Reader(version), gl)
			out.Typings++
			switch {
			case !readBefore && !readNow:
				out.Unread++
			case !readNow:
				out.NoMore++
			case before != now:
				out.Otherwise++
			}
			return nil
		})
		return err
	})
	return out, err
}

// standsFor writes down all that a typing may be, with the groups that matching compares.
func standsFor(by hla.Reader, gl string) (string, bool) {
	r, err := by.Read(gl)
	if err != nil {
		return "", false
	}
	var out []byte
	for _, locus := range r.Loci() {
		for _, pair := range r.At(locus).Pairs {
			out = append(out, '|')
			for _, c := range pair {
				out = append(out, '+')
				for _, allele := range c.Alleles {
					unit := allele
					if by.Release != nil {
						unit = by.Release.Unit(allele)
					}
					out = append(append(append(append(out, allele.String()...), '='), unit.String()...), '/')
				}
			}
		}
	}
	return string(out), true
}

// readTyping reads a typing that somebody enters, made under a nomenclature, and says what stands against it.
func readTyping(library *hla.Library, field, gl, nomenclature string) (*hla.Reading, forms.Problems) {
	r, err := library.Reader(nomenclature).Read(gl)
	if err != nil {
		return nil, forms.Problems{forms.TypingProblem(field, err)}
	}
	if r.Version() != "" && r.Version() != nomenclature {
		return nil, forms.Problems{{Code: "R146", Field: field, Args: map[string]any{"Reason": "other-version"}}}
	}
	return r, nil
}

// lacking are those of the wanted loci that are not typed.
func lacking(r *hla.Reading, wanted ...hla.Locus) []hla.Locus {
	return slices.DeleteFunc(slices.Clone(wanted), func(l hla.Locus) bool { return r.At(l) != nil })
}
