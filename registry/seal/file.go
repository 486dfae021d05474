package seal

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// fileFormat is the layout of the key file that this program reads and writes.
const fileFormat = 2

// fileHeader is what the key file tells in clear.
type fileHeader struct {
	Format     int   `json:"format"`
	Suite      Suite `json:"suite"`
	Generation int64 `json:"generation"` // counts the file's changes
}

// keyFile is the layout of the key file. Without a key service the keys are in it in clear: the file is the secret, and
// belongs where only the service can read it. With one, they are wrapped by it, and the file alone opens nothing.
type keyFile struct {
	fileHeader
	Keys    *material `json:"keys,omitempty"`
	KMS     string    `json:"kms,omitempty"`     // the name of the service's key that wraps the file's
	Wrapped string    `json:"wrapped,omitempty"` // what the service gave, which tells the version of its key
}

// material is the secret of a key file. Lists begin with the newest key, which is the one that writes.
type material struct {
	KEKs     []kekRecord `json:"keks"`
	Payloads []keyRecord `json:"payloads"`
	Index    []keyRecord `json:"index"`
	MAC      string      `json:"mac"`               // never changes: the audit's seals and the fingerprint are made with it
	Signing  string      `json:"signing,omitempty"` // never changes once it is there: the audit's heads are signed with it
}

type keyRecord struct {
	Version uint32 `json:"version"`
	Key     string `json:"key"`
}

type kekRecord struct {
	Version uint32 `json:"version"`
	Wrap    string `json:"wrap"`
	Cells   string `json:"cells"`
}

// KMS wraps and unwraps the keys of a key file: a service that holds a key which never leaves it. It is asked once when a
// key file is read and once when it is written, never for a person.
type KMS interface {
	// Name tells the service's key from others. It is written into the key file.
	Name() string
	// Wrap encrypts under the newest version of the service's key. What it gives tells that version.
	Wrap(ctx context.Context, plain []byte) (string, error)
	// Unwrap decrypts what Wrap gave under whichever version.
	Unwrap(ctx context.Context, wrapped string) ([]byte, error)
}

// kmsPatience is how long a key service may take to answer a process that has met a new key.
const kmsPatience = 10 * time.Second

// ReadFile reads a keyring from a file that nobody but its owner may read, and that no key service wraps.
func ReadFile(path string) (*Keyring, error) { return Read(context.Background(), path, nil) }

// Read reads a keyring from a file that nobody but its owner may read. kms is nil for a file in clear.
func Read(ctx context.Context, path string, kms KMS) (*Keyring, error) {
	r, err := readRing(ctx, path, kms)
	if err != nil {
		return nil, err
	}
	k := &Keyring{path: path, kms: kms}
	k.ring.Store(r)
	return k, nil
}

func readRing(ctx context.Context, path string, kms KMS) (*ring, error) {
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
	m, err := f.unwrap(ctx, kms)
	if err != nil {
		return nil, err
	}
	return newRing(f.fileHeader, m)
}

func (f keyFile) unwrap(ctx context.Context, kms KMS) (m material, err error) {
	switch {
	case f.Format != fileFormat: // newRing says so
		return m, nil
	case f.Wrapped == "" && f.Keys == nil:
		return m, errors.New("seal: the key file has no keys")
	case f.Wrapped == "" && kms != nil:
		return m, fmt.Errorf("seal: the key file is in clear and %s is to wrap it: run liferelay keys wrap", kms.Name())
	case f.Wrapped == "":
		return *f.Keys, nil
	case kms == nil:
		return m, fmt.Errorf("seal: the key file is wrapped by %s, and no key service is set", f.KMS)
	case kms.Name() != f.KMS:
		return m, fmt.Errorf("seal: the key file is wrapped by %s, not by %s", f.KMS, kms.Name())
	}
	plain, err := kms.Unwrap(ctx, f.Wrapped)
	if err != nil {
		return m, fmt.Errorf("seal: the key service: %w", err)
	}
	if err := json.Unmarshal(plain, &m); err != nil {
		// What was unwrapped is secret, and an error of its parser may repeat it.
		return m, errors.New("seal: what the key service unwrapped is not the keys of a key file")
	}
	return m, nil
}

func (r *ring) encode(ctx context.Context, kms KMS) ([]byte, error) {
	f := keyFile{fileHeader: r.header, Keys: &r.material}
	if kms != nil {
		plain, err := json.Marshal(r.material)
		if err != nil {
			return nil, err
		}
		f.Keys, f.KMS = nil, kms.Name()
		if f.Wrapped, err = kms.Wrap(ctx, plain); err != nil {
			return nil, fmt.Errorf("seal: the key service: %w", err)
		}
	}
	data, err := json.MarshalIndent(f, "", "  ")
	return append(data, '\n'), err
}

// WriteFile writes the keyring to a new file in clear and refuses to replace one: an overwritten key file is a lost register.
func (k *Keyring) WriteFile(path string) error { return k.Write(context.Background(), path, nil) }

// Write writes the keyring to a new file, wrapped by kms unless that is nil, and refuses to replace one. The keyring stays
// apart from the file: whoever is to change it reads it.
func (k *Keyring) Write(ctx context.Context, path string, kms KMS) error {
	data, err := k.ring.Load().encode(ctx, kms)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("seal: the folder of the key file: %w", err)
	}
	if err := writeNew(path, data); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("seal: %s exists already and is not replaced", path)
		}
		return err
	}
	return nil
}

func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("seal: the key file: %w", err)
	}
	if _, err := f.Write(data); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// Refresh makes sure that the keyring has the keys of a generation of the file, reading the file again when it has not.
// The error is ErrBehind when the file does not have them either.
func (k *Keyring) Refresh(generation int64) error {
	if k.Generation() >= generation {
		return nil
	}
	k.readAgain()
	if k.Generation() < generation {
		return ErrBehind
	}
	return nil
}

// readAgain reads the file again and tells whether it brought something new. When it did not, it is left alone for a second.
func (k *Keyring) readAgain() bool {
	before := k.Generation()
	k.reading.Lock()
	defer k.reading.Unlock()
	if k.Generation() != before {
		return true // another goroutine has
	}
	if k.path == "" || time.Since(k.inVain) < time.Second {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), kmsPatience)
	defer cancel()
	r, err := readRing(ctx, k.path, k.kms)
	if err != nil || r.suite != k.Suite() || r.material.MAC != k.ring.Load().material.MAC {
		k.inVain = time.Now()
		return false // a file that is being replaced, or somebody else's: what was read before holds
	}
	k.ring.Store(r)
	if r.header.Generation == before {
		k.inVain = time.Now()
		return false
	}
	return true
}

// Kind is a kind of key that rotates.
type Kind string

// The kinds.
const (
	KEK      Kind = "kek"   // wraps people's keys, and seals what is nobody's
	IndexKey Kind = "index" // finds by digests
)

// Versions lists the versions of a kind that the keyring has, newest first.
func (k *Keyring) Versions(kind Kind) []int {
	var out []int
	r := k.ring.Load()
	switch kind {
	case KEK:
		for _, key := range r.keks {
			out = append(out, int(key.wrap.version))
		}
	case IndexKey:
		for _, key := range r.index {
			out = append(out, int(key.version))
		}
	}
	return out
}

// KMS names the key service's key that wraps the keyring's file, empty when none does.
func (k *Keyring) KMS() string {
	if kms := k.service(); kms != nil {
		return kms.Name()
	}
	return ""
}

func (k *Keyring) service() KMS {
	k.reading.Lock()
	defer k.reading.Unlock()
	return k.kms
}

// Add adds a key of a kind, which writes from then on, and returns its version and where the file that was replaced is
// kept.
func (k *Keyring) Add(ctx context.Context, kind Kind) (version int, backup string, err error) {
	backup, err = k.change(ctx, k.service(), func(suite Suite, m *material) error {
		switch kind {
		case KEK:
			version = int(m.KEKs[0].Version) + 1
			m.KEKs = slices.Insert(slices.Clone(m.KEKs), 0, newKEK(suite, uint32(version)))
		case IndexKey:
			version = int(m.Index[0].Version) + 1
			m.Index = slices.Insert(slices.Clone(m.Index), 0, keyRecord{uint32(version), hex.EncodeToString(random(digestSize))})
		default:
			return fmt.Errorf("seal: keys of kind %q are not added", kind)
		}
		return nil
	})
	return version, backup, err
}

// Retire removes a key of a kind that nothing carries any more, which the caller has made sure of. The newest stays.
func (k *Keyring) Retire(ctx context.Context, kind Kind, version int) (backup string, err error) {
	if versions := k.Versions(kind); !slices.Contains(versions[1:], version) {
		return "", fmt.Errorf("seal: %s %d is not an older key of the key file", kind, version)
	}
	return k.change(ctx, k.service(), func(_ Suite, m *material) error {
		m.KEKs = slices.DeleteFunc(slices.Clone(m.KEKs), func(r kekRecord) bool { return kind == KEK && int(r.Version) == version })
		m.Index = slices.DeleteFunc(slices.Clone(m.Index), func(r keyRecord) bool { return kind == IndexKey && int(r.Version) == version })
		return nil
	})
}

// Wrap writes the file anew, wrapped by another key service, by the newest version of the same one, or by none.
func (k *Keyring) Wrap(ctx context.Context, kms KMS) (backup string, err error) {
	return k.change(ctx, kms, func(Suite, *material) error { return nil })
}

// change makes a new generation of the keys and replaces their file by it, in one step: whoever reads the file finds the
// old one or the new one whole. The old one is kept beside it.
func (k *Keyring) change(ctx context.Context, kms KMS, do func(Suite, *material) error) (backup string, err error) {
	k.reading.Lock()
	defer k.reading.Unlock()
	now := k.ring.Load()
	aside := k.path + ".new"
	if k.path != "" {
		// Another process may have changed the file. While the file aside is there, no other does.
		if err := writeNew(aside, nil); err != nil {
			if errors.Is(err, fs.ErrExist) {
				return "", fmt.Errorf("seal: %s exists: somebody else is changing the key file, or died doing it; remove it when nobody is", aside)
			}
			return "", err
		}
		defer func() {
			if err != nil {
				_ = os.Remove(aside)
			}
		}()
		if now, err = readRing(ctx, k.path, k.kms); err != nil {
			return "", err
		}
	}
	m, header := now.material, now.header
	if err := do(now.suite, &m); err != nil {
		return "", err
	}
	header.Generation++
	next, err := newRing(header, m)
	if err != nil {
		return "", err
	}
	if k.path != "" {
		backup = fmt.Sprintf("%s.%d.bak", k.path, now.header.Generation)
		if err := k.replace(ctx, next, aside, backup, kms); err != nil {
			return "", err
		}
	}
	k.kms = kms
	k.ring.Store(next)
	return backup, nil
}

func (k *Keyring) replace(ctx context.Context, next *ring, aside, backup string, kms KMS) error {
	data, err := next.encode(ctx, kms)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(aside, os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("seal: the key file: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("seal: the key file: %w", err)
	}
	// One that is there already is of this generation: somebody died before the next line.
	if err := os.Link(k.path, backup); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("seal: the key file's backup: %w", err)
	}
	if err := os.Rename(aside, k.path); err != nil {
		return fmt.Errorf("seal: the key file: %w", err)
	}
	folder, err := os.Open(filepath.Dir(k.path))
	if err != nil {
		return nil //nolint:nilerr // the file is replaced; only that the folder is on the disk could not be asked for
	}
	_ = folder.Sync()
	return folder.Close()
}
