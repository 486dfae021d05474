// Package seal keeps personal text unreadable wherever it is not needed: in the database, in logs, in answers and in
// workflow histories.
//
// It guarantees three things. A Secret shows only its mask unless Reveal is called. A sealed cell opens only with the
// keyring that sealed it and only in its own place: the table, column and row are bound to it, so a cell copied to
// another row does not open. A blind index finds equal values without telling them, and its keys are not the keys that
// seal, so that whoever holds the database alone can neither read nor test guesses.
//
// The layering follows tailscale/setec's db package: Tink keysets for sealing, so that keys rotate by adding a new
// primary, and plain HMAC-SHA-256 for the index, whose keys carry a version that is stored beside each digest.
package seal

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
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

// Keyring holds the keys of one installation. It is safe for concurrent use.
type Keyring struct {
	fields   tink.AEAD
	payloads tink.AEAD
	index    []indexKey // newest first
	file     keyFile
}

type indexKey struct {
	version int16
	key     []byte
}

// keyFile is the layout of the key file. The keysets are in Tink's JSON, in clear: the file is the secret, and belongs
// where only the service can read it.
type keyFile struct {
	Format   int              `json:"format"`
	Fields   json.RawMessage  `json:"fields"`
	Payloads json.RawMessage  `json:"payloads"`
	Index    []indexKeyRecord `json:"index"`
}

type indexKeyRecord struct {
	Version int16  `json:"version"`
	Key     string `json:"key"`
}

// ErrCannotOpen says that a sealed value is not in its place, was changed, or was sealed with another keyring.
var ErrCannotOpen = errors.New("seal: the value cannot be opened")

// Generate makes a new keyring with fresh keys.
func Generate() (*Keyring, error) {
	fields, err := newKeyset()
	if err != nil {
		return nil, err
	}
	payloads, err := newKeyset()
	if err != nil {
		return nil, err
	}
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails, by its documentation
	return fromFile(keyFile{Format: 1, Fields: fields, Payloads: payloads, Index: []indexKeyRecord{{Version: 1, Key: hex.EncodeToString(key)}}})
}

func newKeyset() (json.RawMessage, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("seal: making a key: %w", err)
	}
	var out bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&out)); err != nil {
		return nil, fmt.Errorf("seal: writing a key: %w", err)
	}
	return out.Bytes(), nil
}

func fromFile(f keyFile) (*Keyring, error) {
	if f.Format != 1 {
		return nil, fmt.Errorf("seal: the key file has format %d, this version reads format 1", f.Format)
	}
	if len(f.Index) == 0 {
		return nil, errors.New("seal: the key file has no index key")
	}
	k := &Keyring{file: f}
	var err error
	if k.fields, err = readKeyset("fields", f.Fields); err != nil {
		return nil, err
	}
	if k.payloads, err = readKeyset("payloads", f.Payloads); err != nil {
		return nil, err
	}
	for _, record := range f.Index {
		key, err := hex.DecodeString(record.Key)
		if err != nil || len(key) != sha256.Size {
			return nil, fmt.Errorf("seal: index key %d of the key file is not 32 bytes in hexadecimal", record.Version)
		}
		k.index = append(k.index, indexKey{record.Version, key})
	}
	return k, nil
}

func readKeyset(name string, data []byte) (tink.AEAD, error) {
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(data)))
	if err != nil {
		return nil, fmt.Errorf("seal: the keyset %q of the key file cannot be read: %w", name, err)
	}
	return aead.New(handle)
}

// ReadFile reads a keyring from a file that nobody but its owner may read.
func ReadFile(path string) (*Keyring, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("seal: the key file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("seal: the key file %s is open to others (mode %o): chmod 600 it", path, info.Mode().Perm())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("seal: the key file: %w", err)
	}
	var f keyFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("seal: the key file %s is not a key file: %w", path, err)
	}
	return fromFile(f)
}

// WriteFile writes the keyring to a new file and refuses to replace one: an overwritten key file is a lost register.
func (k *Keyring) WriteFile(path string) error {
	data, err := json.MarshalIndent(k.file, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("seal: the folder of the key file: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("seal: %s exists already and is not replaced", path)
	}
	if err != nil {
		return fmt.Errorf("seal: the key file: %w", err)
	}
	if _, err := f.Write(append(data, '\n')); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// Fingerprint names the keyring without telling its keys. The register keeps the fingerprint of the keyring it was
// sealed with, so that a service started with another one refuses to start instead of sealing with the wrong keys.
func (k *Keyring) Fingerprint() string {
	oldest := k.index[len(k.index)-1]
	mac := hmac.New(sha256.New, oldest.key)
	mac.Write([]byte("liferelay keyring fingerprint"))
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

// Seal encrypts a text for its cell. An empty text gives nil, which a column stores as NULL.
func (k *Keyring) Seal(cell Cell, text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	return k.SealBytes(cell, []byte(text))
}

// SealBytes encrypts bytes for their cell.
func (k *Keyring) SealBytes(cell Cell, plain []byte) ([]byte, error) {
	out, err := k.fields.Encrypt(plain, cell.associated())
	if err != nil {
		return nil, fmt.Errorf("seal: %s.%s: %w", cell.Table, cell.Column, err)
	}
	return out, nil
}

// OpenBytes decrypts what SealBytes gave. NULL opens as nil.
func (k *Keyring) OpenBytes(cell Cell, sealed []byte) ([]byte, error) {
	if sealed == nil {
		return nil, nil
	}
	out, err := k.fields.Decrypt(sealed, cell.associated())
	if err != nil {
		return nil, fmt.Errorf("%w: %s.%s of row %s", ErrCannotOpen, cell.Table, cell.Column, cell.Row)
	}
	return out, nil
}

// OpenName, OpenNumber and the others decrypt a cell straight into its Secret.
func (k *Keyring) OpenName(cell Cell, sealed []byte) (Name, error) {
	return open[nameKind](k, cell, sealed)
}

// OpenNumber decrypts the number of an identity document.
func (k *Keyring) OpenNumber(cell Cell, sealed []byte) (Number, error) {
	return open[numberKind](k, cell, sealed)
}

// OpenPhone decrypts a phone number.
func (k *Keyring) OpenPhone(cell Cell, sealed []byte) (Phone, error) {
	return open[phoneKind](k, cell, sealed)
}

// OpenEmail decrypts a mail address.
func (k *Keyring) OpenEmail(cell Cell, sealed []byte) (Email, error) {
	return open[emailKind](k, cell, sealed)
}

// OpenAddress decrypts a postal address.
func (k *Keyring) OpenAddress(cell Cell, sealed []byte) (Address, error) {
	return open[addressKind](k, cell, sealed)
}

// OpenNote decrypts free text.
func (k *Keyring) OpenNote(cell Cell, sealed []byte) (Note, error) {
	return open[noteKind](k, cell, sealed)
}

func open[K kind](k *Keyring, cell Cell, sealed []byte) (Secret[K], error) {
	plain, err := k.OpenBytes(cell, sealed)
	if err != nil {
		return Secret[K]{}, err
	}
	return hide[K](string(plain)), nil
}

// Digest is a blind index: equal values of a column have equal digests, and nothing else can be read from one.
type Digest [sha256.Size]byte

// Index computes the digest of a value under the newest key, and that key's version. The caller normalises the value
// first. Columns have keys of their own, so that digests of one column cannot be compared with another's.
func (k *Keyring) Index(column, value string) (Digest, int16) {
	return digest(k.index[0].key, column, value), k.index[0].version
}

// Lookups computes the digests of a value under every key, newest first: while keys rotate, a row may carry any.
func (k *Keyring) Lookups(column, value string) [][]byte {
	out := make([][]byte, 0, len(k.index))
	for _, key := range k.index {
		d := digest(key.key, column, value)
		out = append(out, d[:])
	}
	return out
}

func digest(key []byte, column, value string) (d Digest) {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(column))
	mac.Write([]byte{0})
	mac.Write([]byte(value))
	mac.Sum(d[:0])
	return d
}

// SealPayload encrypts what leaves for the workflow engine. It is bound to the workflow that it belongs to.
func (k *Keyring) SealPayload(workflow string, plain []byte) ([]byte, error) {
	return k.payloads.Encrypt(plain, []byte(workflow))
}

// OpenPayload decrypts what SealPayload gave.
func (k *Keyring) OpenPayload(workflow string, sealed []byte) ([]byte, error) {
	out, err := k.payloads.Decrypt(sealed, []byte(workflow))
	if err != nil {
		return nil, fmt.Errorf("%w: a payload of workflow %s", ErrCannotOpen, workflow)
	}
	return out, nil
}
