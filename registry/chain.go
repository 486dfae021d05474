package registry

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/seal"
)

// auditSeal is one link of the chain over the audit.
type auditSeal struct {
	Seq       int64
	At        time.Time
	Rows      int
	Total     int64 // rows of this link and all before it
	IDs       []uuid.UUID
	Times     []time.Time
	Hashes    []byte
	Previous  []byte
	Hash      []byte
	Signature []byte
}

const sealColumns = `seq, sealed_at, rows, total, ids, times, hashes, previous, hash, signature`

func scanSeal(row pgx.Row) (l auditSeal, err error) {
	return l, row.Scan(&l.Seq, &l.At, &l.Rows, &l.Total, &l.IDs, &l.Times, &l.Hashes, &l.Previous, &l.Hash, &l.Signature)
}

// whole tells whether the link's parts fit together, so that its content can be put together at all.
func (l auditSeal) whole() bool {
	return l.Rows == len(l.IDs) && len(l.Times) == l.Rows && len(l.Hashes) == sha256.Size*l.Rows
}

func (l auditSeal) rowHash(i int) []byte { return l.Hashes[i*sha256.Size : (i+1)*sha256.Size] }

func (l auditSeal) content() string {
	out := binary.BigEndian.AppendUint64(nil, uint64(l.Seq))
	out = binary.BigEndian.AppendUint64(out, uint64(l.At.UnixMicro()))
	out = binary.BigEndian.AppendUint64(out, uint64(l.Rows))
	out = binary.BigEndian.AppendUint64(out, uint64(l.Total))
	out = append(out, l.Previous...)
	for i, id := range l.IDs {
		out = append(out, id[:]...)
		out = binary.BigEndian.AppendUint64(out, uint64(l.Times[i].UnixMicro()))
	}
	return string(append(out, l.Hashes...))
}

// digest is the link's hash. It is keyed, so that whoever holds the database alone cannot seal what they changed.
func (l auditSeal) digest(keys *seal.Keyring) []byte {
	d := keys.MAC("audit_seals", l.content())
	return d[:]
}

// genuine tells whether the link has the hash that the keyring gives it.
func (l auditSeal) genuine(keys *seal.Keyring) bool {
	return hmac.Equal(l.digest(keys), l.Hash)
}

// AuditHead says how far the chain had come at a time. It is signed, so that whoever keeps one outside can show later that the
// chain was cut off before it, or made anew.
type AuditHead struct {
	Kind      string    `json:"kind"`     // head
	Register  string    `json:"register"` // the fingerprint of the register's keyring
	Seal      int64     `json:"seal"`
	Rows      int64     `json:"rows"` // of this seal and all before it
	At        time.Time `json:"at"`
	Content   string    `json:"content"`   // SHA-256 of what the seal covers, which anybody can compute
	Hash      string    `json:"hash"`      // the seal's own, keyed, which the next seal covers
	Signature string    `json:"signature"` // of the text below
}

func (l auditSeal) head(register string) AuditHead {
	sum := sha256.Sum256([]byte(l.content()))
	return AuditHead{Kind: lineHead, Register: register, Seal: l.Seq, Rows: l.Total, At: l.At.UTC(), Content: hex.EncodeToString(sum[:]), Hash: hex.EncodeToString(l.Hash),
		Signature: base64.StdEncoding.EncodeToString(l.Signature)}
}

// text is what is signed, a line a fact, so that it can be put together without this program.
func (h AuditHead) text() string {
	return fmt.Sprintf("liferelay audit head 1\nregister %s\nseal %d\nrows %d\nat %s\ncontent %s\nhash %s\n",
		h.Register, h.Seal, h.Rows, h.At.UTC().Format(time.RFC3339Nano), h.Content, h.Hash)
}

func (h AuditHead) signed(verify func(string, []byte) bool) bool {
	signature, err := base64.StdEncoding.DecodeString(h.Signature)
	return err == nil && verify(h.text(), signature)
}

// NewestHead returns the newest signed head of the audit. Kept elsewhere, it shows whether the chain still has it. The error is
// NotFound while nothing is sealed.
func (r *Reader) NewestHead(ctx context.Context, actor Actor) (AuditHead, error) {
	var out AuditHead
	err := r.act(ctx, actor, "NewestHead", policy.ForAudit, func(ctx context.Context, a *act) error {
		if err := a.permit(policy.Read, policy.Audit, record{kind: "audit", id: "head", region: nation}); err != nil {
			return err
		}
		link, err := scanSeal(a.QueryRow(ctx, `SELECT `+sealColumns+` FROM audit_seals ORDER BY seq DESC LIMIT 1`))
		if errors.Is(err, pgx.ErrNoRows) {
			return &Error{Kind: NotFound, Code: "nothing_sealed"}
		}
		out = link.head(a.keys.Fingerprint())
		return err
	})
	return out, err
}

// AuditReport is what VerifyAudit or VerifyExport found.
type AuditReport struct {
	Rows     int64  `json:"rows" class:"audit" mask:"drop"`           // sealed and looked at
	Seals    int64  `json:"seals" class:"audit" mask:"drop"`          // links of the chain
	Waiting  int64  `json:"waiting" class:"audit" mask:"drop"`        // written and not sealed yet
	Kept     int    `json:"kept,omitempty" class:"audit" mask:"drop"` // heads that were kept elsewhere and are still in the chain
	Verified bool   `json:"verified" class:"audit" mask:"drop"`       // nothing is wrong
	Finding  string `json:"finding,omitempty" class:"audit" mask:"drop"`
	Seal     int64  `json:"seal,omitempty" class:"audit" mask:"drop"` // the first seal that is wrong
	Row      string `json:"row,omitempty" class:"audit" mask:"drop"`  // the first row that is wrong
}

func (r *AuditReport) wrong(link int64, row uuid.UUID, finding string, args ...any) {
	r.Finding, r.Seal = fmt.Sprintf(finding, args...), link
	if row != uuid.Nil {
		r.Row = row.String()
	}
}

// VerifyAudit walks the chain of seals over every audit row, in one snapshot, and reports the first row that was
// changed, removed or slipped in. kept, when not nil, is what was kept elsewhere: with it the report also tells whether the
// chain's end was cut off, or the chain made anew by somebody who holds the keys. progress, when not nil, is told how many
// rows are done of how many.
func (s *Store) VerifyAudit(ctx context.Context, actor Actor, kept *KeptHeads, progress func(done, total int64)) (AuditReport, error) {
	err := s.act(ctx, actor, "VerifyAudit", policy.ForAudit, func(_ context.Context, a *act) error {
		return a.permit(policy.Read, policy.Audit, record{kind: "audit", id: "chain", region: nation})
	})
	if err != nil {
		return AuditReport{}, err
	}
	began := s.now()
	report, err := s.verify(ctx, kept, progress)
	if err == nil {
		err = s.keepVerification(ctx, actor, began, report)
	}
	return report, err
}

func verifyChain(ctx context.Context, tx pgx.Tx, keys *seal.Keyring, kept *KeptHeads, report *AuditReport, progress func(done, total int64)) error {
	register := keys.Fingerprint()
	signed, err := keys.PublicKey().Verifier()
	if err != nil {
		return err
	}
	if kept.unsound(report, register, signed) {
		return nil
	}
	var total int64
	err = tx.QueryRow(ctx, `SELECT (SELECT count(*) FROM audit), (SELECT count(*) FROM audit_unsealed)`).Scan(&total, &report.Waiting)
	if err != nil {
		return err
	}
	previous := make([]byte, sha256.Size)
	for seq := int64(1); ; seq++ {
		link, err := scanSeal(tx.QueryRow(ctx, `SELECT `+sealColumns+` FROM audit_seals WHERE seq >= $1 ORDER BY seq LIMIT 1`, seq))
		if errors.Is(err, pgx.ErrNoRows) {
			break
		}
		if err != nil {
			return err
		}
		switch {
		case link.Seq != seq:
			report.wrong(seq, uuid.Nil, "seal %d is missing", seq)
			return nil
		case !bytes.Equal(link.Previous, previous), !link.whole(), link.Total != report.Rows+int64(link.Rows), !link.genuine(keys):
			report.wrong(seq, uuid.Nil, "seal %d was changed", seq)
			return nil
		case !link.head(register).signed(signed):
			report.wrong(seq, uuid.Nil, "the signature of seal %d is not good", seq)
			return nil
		}
		broken, row, err := verifyRows(ctx, tx, link)
		if err != nil {
			return err
		}
		if broken != "" {
			report.wrong(seq, row, "%s", broken)
			return nil
		}
		if differs, err := kept.differs(report, link, register); err != nil || differs {
			return err
		}
		report.Seals++
		report.Rows = link.Total
		previous = link.Hash
		if progress != nil {
			progress(report.Rows, total)
		}
	}
	if last := kept.last(); last > report.Seals {
		report.wrong(report.Seals+1, uuid.Nil, "the end was cut off: seal %d was kept, and the chain ends with seal %d", last, report.Seals)
		return nil
	}
	lost, err := findLost(ctx, tx)
	if err != nil {
		return err
	}
	if lost != uuid.Nil {
		report.wrong(0, lost, "a row is missing that waits for its seal")
		return nil
	}
	if report.Rows+report.Waiting != total {
		row, err := findIntruder(ctx, tx)
		if err != nil {
			return err
		}
		report.wrong(0, row, "a row was added past the sealer")
		return nil
	}
	report.Verified = true
	return nil
}

// sealedRows reads the rows of a link, by their ids: what was removed, or moved to another time, is not among them.
func sealedRows(ctx context.Context, tx pgx.Tx, link auditSeal) (map[uuid.UUID]auditEntry, error) {
	rows, err := tx.Query(ctx, `
		SELECT `+auditColumns+` FROM unnest($1::timestamptz[], $2::uuid[]) sealed(recorded_at, id)
		JOIN audit a ON a.recorded_at = sealed.recorded_at AND a.id = sealed.id`, link.Times, link.IDs)
	if err != nil {
		return nil, err
	}
	entries, err := pgx.CollectRows(rows, scanAudit)
	if err != nil {
		return nil, err
	}
	found := make(map[uuid.UUID]auditEntry, len(entries))
	for _, e := range entries {
		found[e.ID] = e
	}
	return found, nil
}

const (
	rowMissing = "a row is missing, or its time was changed"
	rowChanged = "a row was changed"
)

func verifyRows(ctx context.Context, tx pgx.Tx, link auditSeal) (finding string, row uuid.UUID, err error) {
	found, err := sealedRows(ctx, tx, link)
	if err != nil {
		return "", uuid.Nil, err
	}
	for i, id := range link.IDs {
		e, ok := found[id]
		if !ok {
			return rowMissing, id, nil
		}
		if sum := e.hash(); !bytes.Equal(sum[:], link.rowHash(i)) {
			return rowChanged, id, nil
		}
	}
	return "", uuid.Nil, nil
}

// findLost finds a row that was removed before it was sealed.
func findLost(ctx context.Context, tx pgx.Tx) (uuid.UUID, error) {
	var id uuid.UUID
	err := tx.QueryRow(ctx, `
		SELECT u.id FROM audit_unsealed u WHERE NOT EXISTS (SELECT FROM audit a WHERE a.recorded_at = u.recorded_at AND a.id = u.id)
		ORDER BY u.recorded_at, u.id LIMIT 1`).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return uuid.Nil, nil
	}
	return id, err
}

func findIntruder(ctx context.Context, tx pgx.Tx) (uuid.UUID, error) {
	var id uuid.UUID
	err := tx.QueryRow(ctx, `
		SELECT a.id FROM audit a
		WHERE NOT EXISTS (SELECT FROM audit_unsealed u WHERE u.recorded_at = a.recorded_at AND u.id = a.id)
			AND NOT EXISTS (SELECT FROM audit_seals s, unnest(s.ids) sealed WHERE sealed = a.id)
		LIMIT 1`).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return uuid.Nil, nil
	}
	return id, err
}

// The lines of an export (docs/operations.md, "The audit"). Each is a JSON object whose kind says which.
const (
	exportFormat = 1

	lineHeader = "header" // what follows, and of which register
	lineRow    = "row"    // rows come before their seal, in its order
	lineSeal   = "seal"
	lineHead   = "head" // comes after its seal
	lineEnd    = "end"  // an export without one was cut off
)

type headerLine struct {
	Kind     string         `json:"kind"`
	Format   int            `json:"format"`
	Register string         `json:"register"`
	Key      seal.PublicKey `json:"key"`
	Since    int64          `json:"since"` // the first seal that follows is the one after this
}

// rowLine is one audit row whole. Its JSON is the same for the same row.
type rowLine struct {
	Kind         string          `json:"kind"`
	ID           uuid.UUID       `json:"id"`
	At           time.Time       `json:"at"`
	Hash         string          `json:"hash"`              // as it was sealed
	Missing      bool            `json:"missing,omitempty"` // the register does not have it any more
	Actor        string          `json:"actor"`
	Organisation uuid.UUID       `json:"organisation"`
	Act          string          `json:"act"`
	Action       policy.Action   `json:"action"`
	Class        policy.Class    `json:"class"`
	Relation     policy.Relation `json:"relation"`
	Region       identity.Region `json:"region"`
	Target       string          `json:"target"`
	Shown        int             `json:"shown"`
	Showed       []uuid.UUID     `json:"showed"`
	Fields       string          `json:"fields"`
	Purpose      policy.Purpose  `json:"purpose"`
	Reason       string          `json:"reason"`
	Allowed      bool            `json:"allowed"`
	Rule         string          `json:"rule"`
	Revision     int64           `json:"revision"`
	Request      string          `json:"request"`
	Address      string          `json:"address"`
}

func lineOf(e auditEntry, hash []byte) rowLine {
	return rowLine{lineRow, e.ID, e.At.UTC(), hex.EncodeToString(hash), false, e.Actor, e.Organisation, e.Act, e.Action, e.Class, e.Relation, e.Region, e.Target, e.Shown, e.Showed, e.Fields,
		e.Purpose, e.Reason, e.Allowed, e.Rule, e.Revision, e.Request, e.Address}
}

func (l rowLine) entry() auditEntry {
	return auditEntry{l.ID, l.At, l.Actor, l.Organisation, l.Act, l.Action, l.Class, l.Relation, l.Region, l.Target, l.Shown, l.Showed, l.Fields, l.Purpose, l.Reason, l.Allowed, l.Rule, l.Revision,
		l.Request, l.Address}
}

type sealLine struct {
	Kind     string    `json:"kind"`
	Seq      int64     `json:"seq"`
	At       time.Time `json:"at"`
	Rows     int       `json:"rows"`
	Total    int64     `json:"total"`
	Previous string    `json:"previous"`
	Hash     string    `json:"hash"`
}

// AuditExport counts what was exported, and is the last line of an export.
type AuditExport struct {
	Kind  string `json:"kind"`
	Seals int64  `json:"seals"`
	Rows  int64  `json:"rows"`
	Last  int64  `json:"last"` // the last seal: what the next export follows on
}

// ExportAudit writes the seals after since, each with its rows and its signed head, as lines of JSON. What lies in an export can
// be verified with the public key alone (VerifyExport). Rows that the register has lost are marked, so that a damaged audit can
// be handed out as well.
func (s *Store) ExportAudit(ctx context.Context, actor Actor, since int64, to io.Writer, progress func(done, total int64)) (AuditExport, error) {
	var total int64
	err := s.act(ctx, actor, "ExportAudit", policy.ForAudit, func(ctx context.Context, a *act) error {
		var last int64
		err := a.QueryRow(ctx, `SELECT coalesce(max(seq), 0), coalesce(sum(rows) FILTER (WHERE seq > $1), 0) FROM audit_seals`, since).Scan(&last, &total)
		if err != nil {
			return err
		}
		if err := a.permitShown(policy.Export, policy.Audit, record{kind: "audit", id: "chain", region: nation}, int(min(total, 1<<31-1))); err != nil {
			return err
		}
		a.entries[len(a.entries)-1].Fields = "since=" + strconv.FormatInt(since, 10)
		if since > last || since < 0 {
			return &Error{Kind: Invalid, Code: "seal_unknown", Args: map[string]any{"Seal": since, "Last": last}}
		}
		return nil
	})
	if err != nil {
		return AuditExport{}, err
	}
	out := AuditExport{Kind: lineEnd, Last: since}
	buffered := bufio.NewWriterSize(to, 1<<16)
	lines := json.NewEncoder(buffered)
	lines.SetEscapeHTML(false)
	err = pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		register := s.keys.Fingerprint()
		if err := lines.Encode(headerLine{lineHeader, exportFormat, register, s.keys.PublicKey(), since}); err != nil {
			return err
		}
		for {
			link, err := scanSeal(tx.QueryRow(ctx, `SELECT `+sealColumns+` FROM audit_seals WHERE seq > $1 ORDER BY seq LIMIT 1`, out.Last))
			if errors.Is(err, pgx.ErrNoRows) {
				return lines.Encode(out)
			}
			if err != nil {
				return err
			}
			if err := exportSeal(ctx, tx, lines, link, register); err != nil {
				return err
			}
			out.Last = link.Seq
			out.Seals++
			out.Rows += int64(link.Rows)
			if progress != nil {
				progress(out.Rows, total)
			}
		}
	})
	if err == nil {
		err = buffered.Flush()
	}
	return out, translate(err)
}

func exportSeal(ctx context.Context, tx pgx.Tx, lines *json.Encoder, link auditSeal, register string) error {
	found, err := sealedRows(ctx, tx, link)
	if err != nil {
		return err
	}
	for i, id := range link.IDs {
		var hash []byte
		if link.whole() {
			hash = link.rowHash(i)
		}
		e, ok := found[id]
		if !ok {
			e = auditEntry{ID: id}
			if link.whole() {
				e.At = link.Times[i]
			}
		}
		line := lineOf(e, hash)
		line.Missing = !ok
		if err := lines.Encode(line); err != nil {
			return err
		}
	}
	err = lines.Encode(sealLine{lineSeal, link.Seq, link.At.UTC(), link.Rows, link.Total, hex.EncodeToString(link.Previous), hex.EncodeToString(link.Hash)})
	if err != nil {
		return err
	}
	return lines.Encode(link.head(register))
}

// eachLine hands the lines of exports and kept heads over, one after the other.
func eachLine(from io.Reader, do func(no int, kind string, line []byte) error) error {
	in := bufio.NewReaderSize(from, 1<<16)
	for no := 1; ; no++ {
		line, err := in.ReadBytes('\n')
		ended := errors.Is(err, io.EOF)
		if err != nil && !ended {
			return err
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			var l struct {
				Kind string `json:"kind"`
			}
			if json.Unmarshal(line, &l) != nil || !slices.Contains([]string{lineHeader, lineRow, lineSeal, lineHead, lineEnd}, l.Kind) {
				return unreadable(no)
			}
			if err := do(no, l.Kind, line); err != nil {
				return err
			}
		}
		if ended {
			return nil
		}
	}
}

func unreadable(no int) error {
	return &Error{Kind: Invalid, Code: "export_unreadable", Args: map[string]any{"Line": no}}
}

// KeptHeads is what somebody kept of the audit elsewhere: signed heads, or whole exports.
type KeptHeads struct {
	heads   map[int64]AuditHead
	twice   int64 // a seal of which two different heads were kept
	newest  int64
	reading func() (io.ReadCloser, error)
}

// ReadKept reads kept heads: lines that NewestHead gave, exports, or both. open is called again when rows have to be compared.
func ReadKept(open func() (io.ReadCloser, error)) (*KeptHeads, error) {
	k := &KeptHeads{heads: map[int64]AuditHead{}, reading: open}
	in, err := open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }()
	err = eachLine(in, func(no int, kind string, line []byte) error {
		if kind != lineHead {
			return nil
		}
		var h AuditHead
		if json.Unmarshal(line, &h) != nil {
			return unreadable(no)
		}
		if known, ok := k.heads[h.Seal]; ok && known.text() != h.text() && k.twice == 0 {
			k.twice = h.Seal
		}
		k.heads[h.Seal] = h
		k.newest = max(k.newest, h.Seal)
		return nil
	})
	if err == nil && len(k.heads) == 0 {
		err = &Error{Kind: Invalid, Code: "no_heads"}
	}
	return k, err
}

func (k *KeptHeads) last() int64 {
	if k == nil {
		return 0
	}
	return k.newest
}

// unsound reports kept heads that are no witnesses.
func (k *KeptHeads) unsound(report *AuditReport, register string, signed func(string, []byte) bool) bool {
	if k == nil {
		return false
	}
	if k.twice != 0 {
		report.wrong(k.twice, uuid.Nil, "two heads of seal %d were kept, and they differ", k.twice)
		return true
	}
	first := int64(0)
	for seq, h := range k.heads {
		if (h.Register != register || !h.signed(signed)) && (first == 0 || seq < first) {
			first = seq
		}
	}
	if first != 0 {
		report.wrong(first, uuid.Nil, "the kept head of seal %d is not signed with this register's key", first)
	}
	return first != 0
}

// differs holds a link of the chain against what was kept of it, and names the first row that is not the one that was kept.
func (k *KeptHeads) differs(report *AuditReport, link auditSeal, register string) (bool, error) {
	if k == nil {
		return false, nil
	}
	h, ok := k.heads[link.Seq]
	if !ok {
		return false, nil
	}
	if h.text() == link.head(register).text() {
		report.Kept++
		return false, nil
	}
	row, err := k.firstOther(link)
	report.wrong(link.Seq, row, "seal %d is not the one that was kept: the chain was made anew", link.Seq)
	return true, err
}

// firstOther finds the first kept row of a link that the link has otherwise, or not at all. Where only heads were kept it finds
// none.
func (k *KeptHeads) firstOther(link auditSeal) (uuid.UUID, error) {
	in, err := k.reading()
	if err != nil {
		return uuid.Nil, err
	}
	defer func() { _ = in.Close() }()
	var pending []rowLine
	var row uuid.UUID
	err = eachLine(in, func(no int, kind string, line []byte) error {
		switch kind {
		case lineRow:
			var l rowLine
			if json.Unmarshal(line, &l) != nil {
				return unreadable(no)
			}
			pending = append(pending, l)
		case lineSeal:
			var l sealLine
			if json.Unmarshal(line, &l) != nil {
				return unreadable(no)
			}
			if l.Seq != link.Seq {
				pending = pending[:0]
				return nil
			}
			for i, was := range pending {
				if i >= link.Rows || was.ID != link.IDs[i] || was.Hash != hex.EncodeToString(link.rowHash(i)) {
					row = was.ID
					return io.EOF
				}
			}
			if len(pending) > 0 && len(pending) < link.Rows {
				row = link.IDs[len(pending)] // one that was slipped in at the end
			}
			return io.EOF
		}
		return nil
	})
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return row, err
}

// VerifyExport verifies an export, or several one after the other, by itself: with the register's public key, which the keeper
// has from elsewhere, and what they kept before, when kept is not nil. It needs no register and no secret.
func VerifyExport(from io.Reader, key seal.PublicKey, kept *KeptHeads) (AuditReport, error) {
	signed, err := key.Verifier()
	if err != nil {
		return AuditReport{}, &Error{Kind: Invalid, Code: "key_unreadable", cause: err}
	}
	w := exportWalk{key: key, signed: signed, kept: kept}
	err = eachLine(from, w.line)
	switch {
	case errors.Is(err, errFound):
		return w.report, nil
	case err != nil:
		return w.report, err
	case w.state != lineEnd:
		w.report.wrong(w.link.Seq+1, uuid.Nil, "the export was cut off after seal %d", w.last())
	case kept.last() > w.link.Seq:
		w.report.wrong(w.link.Seq+1, uuid.Nil, "the end was cut off: seal %d was kept, and the export ends with seal %d", kept.last(), w.link.Seq)
	default:
		w.report.Verified = true
	}
	return w.report, nil
}

var errFound = errors.New("registry: the export is not sound")

// exportWalk is where VerifyExport stands: behind a line of some kind.
type exportWalk struct {
	key      seal.PublicKey
	signed   func(string, []byte) bool
	kept     *KeptHeads
	report   AuditReport
	state    string // the kind of the line before
	register string
	link     auditSeal // the seal that is being read, or was read last
	known    bool      // the link before the next is: its hash and its total
}

func (w *exportWalk) last() int64 {
	if w.state == lineRow {
		return w.link.Seq - 1
	}
	return w.link.Seq
}

func (w *exportWalk) found(link int64, row uuid.UUID, finding string, args ...any) error {
	w.report.wrong(link, row, finding, args...)
	return errFound
}

// follows lists what may come before a line of each kind.
var follows = map[string][]string{
	lineHeader: {"", lineEnd}, lineRow: {lineHeader, lineRow, lineHead}, lineSeal: {lineHeader, lineRow, lineHead}, lineHead: {lineSeal}, lineEnd: {lineHeader, lineHead},
}

func (w *exportWalk) line(no int, kind string, line []byte) error {
	if !slices.Contains(follows[kind], w.state) {
		return w.found(w.link.Seq, uuid.Nil, "line %d is out of its place: lines were added or removed", no)
	}
	before := w.state
	w.state = kind
	switch kind {
	case lineHeader:
		var l headerLine
		if json.Unmarshal(line, &l) != nil || l.Format != exportFormat {
			return unreadable(no)
		}
		return w.header(l, before == "")
	case lineRow:
		var l rowLine
		if json.Unmarshal(line, &l) != nil {
			return unreadable(no)
		}
		if before != lineRow {
			w.begin()
		}
		return w.row(l)
	case lineSeal:
		var l sealLine
		if json.Unmarshal(line, &l) != nil {
			return unreadable(no)
		}
		if before != lineRow {
			w.begin()
		}
		return w.seal(l)
	case lineHead:
		var l AuditHead
		if json.Unmarshal(line, &l) != nil {
			return unreadable(no)
		}
		return w.head(l)
	default:
		var l AuditExport
		if json.Unmarshal(line, &l) != nil {
			return unreadable(no)
		}
		if l.Last != w.link.Seq {
			return w.found(w.link.Seq+1, uuid.Nil, "seals after seal %d were removed: the export ended with seal %d", w.link.Seq, l.Last)
		}
		return nil
	}
}

func (w *exportWalk) header(l headerLine, first bool) error {
	switch {
	case l.Key != w.key:
		return w.found(0, uuid.Nil, "the export was signed with another key")
	case first:
		w.register, w.link.Seq, w.known = l.Register, l.Since, l.Since == 0
		w.link.Hash = make([]byte, sha256.Size)
		return w.kept.soundFor(&w.report, l.Register, w.signed)
	case l.Register != w.register, l.Since != w.link.Seq:
		return w.found(w.link.Seq+1, uuid.Nil, "the exports do not follow each other: one ends with seal %d, the next begins after seal %d", w.link.Seq, l.Since)
	}
	return nil
}

func (k *KeptHeads) soundFor(report *AuditReport, register string, signed func(string, []byte) bool) error {
	if k.unsound(report, register, signed) {
		return errFound
	}
	return nil
}

// begin begins a seal behind the one that was read.
func (w *exportWalk) begin() {
	w.link = auditSeal{Seq: w.link.Seq + 1, Total: w.link.Total, Previous: w.link.Hash}
}

func (w *exportWalk) row(l rowLine) error {
	hash, err := hex.DecodeString(l.Hash)
	e := l.entry()
	sum := e.hash()
	switch {
	case l.Missing:
		return w.found(w.link.Seq, l.ID, rowMissing)
	case err != nil, !bytes.Equal(sum[:], hash):
		return w.found(w.link.Seq, l.ID, rowChanged)
	}
	w.link.IDs, w.link.Times, w.link.Hashes = append(w.link.IDs, l.ID), append(w.link.Times, l.At), append(w.link.Hashes, hash...)
	return nil
}

func (w *exportWalk) seal(l sealLine) error {
	if l.Seq != w.link.Seq {
		return w.found(w.link.Seq, uuid.Nil, "seal %d is missing", w.link.Seq)
	}
	previous, err := hex.DecodeString(l.Previous)
	if err != nil || w.known && (!bytes.Equal(previous, w.link.Previous) || l.Total != w.link.Total+int64(l.Rows)) || l.Rows != len(w.link.IDs) {
		return w.found(l.Seq, uuid.Nil, "seal %d was changed", l.Seq)
	}
	w.link.At, w.link.Rows, w.link.Total, w.link.Previous = l.At, l.Rows, l.Total, previous
	if w.link.Hash, err = hex.DecodeString(l.Hash); err != nil {
		return w.found(l.Seq, uuid.Nil, "seal %d was changed", l.Seq)
	}
	return nil
}

func (w *exportWalk) head(l AuditHead) error {
	own := w.link.head(w.register)
	own.Signature = l.Signature
	switch {
	case own.text() != l.text():
		return w.found(w.link.Seq, uuid.Nil, "seal %d was changed", w.link.Seq)
	case !l.signed(w.signed):
		return w.found(w.link.Seq, uuid.Nil, "the signature of seal %d is not good", w.link.Seq)
	}
	if differs, err := w.kept.differs(&w.report, w.link, w.register); err != nil {
		return err
	} else if differs {
		return errFound
	}
	w.known = true
	w.report.Seals++
	w.report.Rows += int64(w.link.Rows)
	return nil
}
