// Package seal keeps personal text unreadable wherever it is not needed: in the database, in logs, in answers and in
// workflow histories.
//
// It guarantees four things. A Secret shows only its mask unless Reveal is called. A sealed cell opens only with the key
// that sealed it and only in its own place: the table, column and row are bound to it, so a cell copied to another row
// does not open. What is sealed of a person opens with that person's key alone, and with no key at all once it is
// destroyed. A blind index finds equal values without telling them, and its keys are not the keys that seal, so that
// whoever holds the database alone can neither read nor test guesses.
//
// The layering follows tailscale/setec's db package: data keys wrapped by a key-encryption key that has versions, and
// plain HMAC for the index, whose keys carry a version that is stored beside each digest. The keys of an installation
// are in one file; a key service may wrap that file.
package seal

import (
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// Cell is the place that a sealed value belongs to.
type Cell struct {
	Table, Column string
	Row           uuid.UUID
}

func (c Cell) associated() []byte {
	out := make([]byte, 0, len(c.Table)+len(c.Column)+18)
	out = append(out, c.Table...)
	out = append(out, 0)
	out = append(out, c.Column...)
	out = append(out, 0)
	return append(out, c.Row[:]...)
}

// Keyring holds the keys of one installation. It is safe for concurrent use. One that was read from a file reads it again
// when it meets a version that it does not know.
type Keyring struct {
	ring atomic.Pointer[ring]

	reading sync.Mutex
	path    string // empty for keys that are in no file
	kms     KMS
	inVain  time.Time // when the file was last read again and had nothing new
}

// ring is what a keyring holds at one time. It never changes.
type ring struct {
	material material
	suite    Suite
	header   fileHeader
	keks     []kek       // newest first
	payloads []versioned // newest first
	index    []indexKey  // newest first
	mac      []byte
	signer   crypto.Signer // nil when the file is from before there were signing keys
}

// kek is one version of the key-encryption key: what wraps people's keys, and what seals the cells that are nobody's.
type kek struct{ wrap, cells versioned }

type indexKey struct {
	version int16
	key     []byte
}

// ErrCannotOpen says that a sealed value is not in its place, was changed, or was sealed with another key.
var ErrCannotOpen = errors.New("seal: the value cannot be opened")

// ErrBehind says that the register has keys that the key file does not have: it is an old copy.
var ErrBehind = errors.New("seal: the key file is older than the register's newest keys")

// Generate makes a new keyring of the usual suite with fresh keys.
func Generate() (*Keyring, error) { return GenerateFor(AES) }

// GenerateFor makes a new keyring of a suite with fresh keys.
func GenerateFor(suite Suite) (*Keyring, error) {
	if !suite.Valid() {
		return nil, fmt.Errorf("seal: there is no suite %q", string(suite))
	}
	signing, err := suite.newSigningKey()
	if err != nil {
		return nil, err
	}
	m := material{
		Signing:  signing,
		KEKs:     []kekRecord{newKEK(suite, 1)},
		Payloads: []keyRecord{{1, hex.EncodeToString(suite.newKey())}},
		Index:    []keyRecord{{1, hex.EncodeToString(random(digestSize))}},
		MAC:      hex.EncodeToString(random(digestSize)),
	}
	r, err := newRing(fileHeader{Format: fileFormat, Suite: suite, Generation: 1}, m)
	if err != nil {
		return nil, err
	}
	k := &Keyring{}
	k.ring.Store(r)
	return k, nil
}

func newKEK(suite Suite, version uint32) kekRecord {
	return kekRecord{version, hex.EncodeToString(suite.newKey()), hex.EncodeToString(suite.newKey())}
}

func newRing(header fileHeader, m material) (*ring, error) {
	switch {
	case header.Format != fileFormat:
		return nil, fmt.Errorf("seal: the key file has format %d, this version reads format %d", header.Format, fileFormat)
	case !header.Suite.Valid():
		return nil, fmt.Errorf("seal: the key file has the unknown suite %q", string(header.Suite))
	case len(m.KEKs) == 0 || len(m.Payloads) == 0 || len(m.Index) == 0:
		return nil, errors.New("seal: the key file lacks keys")
	}
	r := &ring{material: m, suite: header.Suite, header: header}
	ready := func(name string, version uint32, text string) (versioned, error) {
		key, err := hex.DecodeString(text)
		if err == nil {
			var v versioned
			if v, err = r.suite.versioned(version, key); err == nil {
				return v, nil
			}
		}
		return versioned{}, fmt.Errorf("seal: %s %d of the key file is not a key of its suite", name, version)
	}
	for _, record := range m.KEKs {
		wrap, err := ready("kek", record.Version, record.Wrap)
		if err != nil {
			return nil, err
		}
		cells, err := ready("kek", record.Version, record.Cells)
		if err != nil {
			return nil, err
		}
		r.keks = append(r.keks, kek{wrap, cells})
	}
	for _, record := range m.Payloads {
		key, err := ready("payload key", record.Version, record.Key)
		if err != nil {
			return nil, err
		}
		r.payloads = append(r.payloads, key)
	}
	for _, record := range m.Index {
		key, err := hex.DecodeString(record.Key)
		if err != nil || len(key) != digestSize || record.Version > 1<<15-1 {
			return nil, fmt.Errorf("seal: index key %d of the key file is not %d bytes in hexadecimal", record.Version, digestSize)
		}
		r.index = append(r.index, indexKey{int16(record.Version), key})
	}
	var err error
	if r.mac, err = hex.DecodeString(m.MAC); err != nil || len(r.mac) != digestSize {
		return nil, fmt.Errorf("seal: the authentication key of the key file is not %d bytes in hexadecimal", digestSize)
	}
	if r.signer, err = r.suite.signer(m.Signing); err != nil {
		return nil, err
	}
	return r, nil
}

// Suite is the family of algorithms that the keys are for.
func (k *Keyring) Suite() Suite { return k.ring.Load().suite }

// Generation counts the changes of the key file. The register keeps the newest that it has seen.
func (k *Keyring) Generation() int64 { return k.ring.Load().header.Generation }

// Fingerprint names the keyring without telling its keys. The register keeps the fingerprint of the keyring it was
// sealed with, so that a service started with another one refuses to start instead of sealing with the wrong keys. It
// stays the same when keys are added and retired.
func (k *Keyring) Fingerprint() string {
	d := k.MAC("liferelay", "keyring fingerprint")
	return hex.EncodeToString(d[:8])
}

// Seal encrypts a text that belongs to no person for its cell. An empty text gives nil, which a column stores as NULL.
func (k *Keyring) Seal(cell Cell, text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	return k.SealBytes(cell, []byte(text))
}

// SealBytes encrypts bytes that belong to no person for their cell.
func (k *Keyring) SealBytes(cell Cell, plain []byte) ([]byte, error) {
	key := k.ring.Load().keks[0].cells
	return sealUnder(key.aead, key.header, plain, cell.associated()), nil
}

// OpenBytes decrypts what SealBytes gave. NULL opens as nil.
func (k *Keyring) OpenBytes(cell Cell, sealed []byte) ([]byte, error) {
	if sealed == nil {
		return nil, nil
	}
	return k.openVersioned(cell, sealed, func(kek kek) versioned { return kek.cells })
}

// Reseal encrypts a cell anew when a key-encryption key before the newest has sealed it.
func (k *Keyring) Reseal(cell Cell, sealed []byte) (out []byte, changed bool, err error) {
	newest := k.ring.Load().keks[0].cells.version
	if version, ok := k.Suite().versionOf(sealed); sealed == nil || ok && version == newest {
		return sealed, false, nil
	}
	plain, err := k.OpenBytes(cell, sealed)
	if err != nil {
		return nil, false, err
	}
	out, err = k.SealBytes(cell, plain)
	return out, true, err
}

func (k *Keyring) openVersioned(cell Cell, sealed []byte, of func(kek) versioned) ([]byte, error) {
	for range 2 {
		r := k.ring.Load()
		version, ok := r.suite.versionOf(sealed)
		if !ok {
			break
		}
		i := slices.IndexFunc(r.keks, func(key kek) bool { return key.wrap.version == version })
		if i >= 0 {
			plain, err := openUnder(of(r.keks[i]).aead, 1+versionSize, sealed, cell.associated())
			if err != nil {
				break
			}
			return plain, nil
		}
		// Somebody has added a key since the file was read.
		if !k.readAgain() {
			break
		}
	}
	return nil, fmt.Errorf("%w: %s.%s of row %s", ErrCannotOpen, cell.Table, cell.Column, cell.Row)
}

// Digest is a blind index: equal values of a column have equal digests, and nothing else can be read from one.
type Digest [digestSize]byte

// Index computes the digest of a value under the newest key, and that key's version. The caller normalises the value
// first. Columns have keys of their own, so that digests of one column cannot be compared with another's.
func (k *Keyring) Index(column, value string) (Digest, int16) {
	r := k.ring.Load()
	return r.suite.digest(r.index[0].key, column, value), r.index[0].version
}

// Lookups computes the digests of a value under every key, newest first: while keys rotate, a row may carry any.
func (k *Keyring) Lookups(column, value string) [][]byte {
	r := k.ring.Load()
	out := make([][]byte, 0, len(r.index))
	for _, key := range r.index {
		d := r.suite.digest(key.key, column, value)
		out = append(out, d[:])
	}
	return out
}

// MAC authenticates a value under a key that stays as long as the register does: for what is compared and never looked
// up, such as the audit's seals.
func (k *Keyring) MAC(purpose, value string) Digest {
	r := k.ring.Load()
	return r.suite.digest(r.mac, purpose, value)
}

// SealPayload encrypts what leaves for the workflow engine. It is bound to the workflow that it belongs to.
func (k *Keyring) SealPayload(workflow string, plain []byte) ([]byte, error) {
	key := k.ring.Load().payloads[0]
	return sealUnder(key.aead, key.header, plain, []byte(workflow)), nil
}

// OpenPayload decrypts what SealPayload gave.
func (k *Keyring) OpenPayload(workflow string, sealed []byte) ([]byte, error) {
	r := k.ring.Load()
	if version, ok := r.suite.versionOf(sealed); ok {
		for _, key := range r.payloads {
			if key.version != version {
				continue
			}
			if plain, err := openUnder(key.aead, 1+versionSize, sealed, []byte(workflow)); err == nil {
				return plain, nil
			}
		}
	}
	return nil, fmt.Errorf("%w: a payload of workflow %s", ErrCannotOpen, workflow)
}
