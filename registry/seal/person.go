package seal

import (
	"bytes"
	"crypto/cipher"
	"errors"
	"fmt"
)

// Key is one person's data key, unwrapped. All that is sealed of the person is sealed with it, so that destroying it
// makes all of it unreadable at once, wherever copies of it are. The key of a person who was erased opens everything as
// empty and seals nothing.
type Key struct {
	suite Suite
	aead  cipher.AEAD // nil when the person was erased
}

// ErrErased says that something was to be sealed for a person whose key was destroyed.
var ErrErased = errors.New("seal: the person was erased")

// NewKey makes a data key for the row that the cell names, and what to store of it: the key, wrapped.
func (k *Keyring) NewKey(cell Cell) (*Key, []byte, error) {
	r := k.ring.Load()
	plain := r.suite.newKey()
	key, err := r.suite.aead(plain)
	if err != nil {
		return nil, nil, err
	}
	return &Key{r.suite, key}, sealUnder(r.keks[0].wrap.aead, r.keks[0].wrap.header, plain, cell.associated()), nil
}

// Unwrap gives the data key that NewKey wrapped for the cell. NULL is the key of somebody erased.
func (k *Keyring) Unwrap(cell Cell, wrapped []byte) (*Key, error) {
	suite := k.ring.Load().suite
	if wrapped == nil {
		return &Key{suite: suite}, nil
	}
	plain, err := k.openWrapped(cell, wrapped)
	if err != nil {
		return nil, err
	}
	key, err := suite.aead(plain)
	return &Key{suite, key}, err
}

func (k *Keyring) openWrapped(cell Cell, wrapped []byte) ([]byte, error) {
	return k.openVersioned(cell, wrapped, func(kek kek) versioned { return kek.wrap })
}

// Rewrap wraps a data key under the newest key-encryption key. A key that is wrapped under it, and NULL, stay as they are.
func (k *Keyring) Rewrap(cell Cell, wrapped []byte) (out []byte, changed bool, err error) {
	newest := k.ring.Load().keks[0].wrap
	if wrapped == nil || bytes.HasPrefix(wrapped, newest.header) {
		return wrapped, false, nil
	}
	plain, err := k.openWrapped(cell, wrapped)
	if err != nil {
		return nil, false, err
	}
	return sealUnder(newest.aead, newest.header, plain, cell.associated()), true, nil
}

// Erased tells whether the person's key was destroyed.
func (k *Key) Erased() bool { return k.aead == nil }

// Seal encrypts a text for its cell. An empty text gives nil, which a column stores as NULL.
func (k *Key) Seal(cell Cell, text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	return k.SealBytes(cell, []byte(text))
}

// SealBytes encrypts bytes for their cell.
func (k *Key) SealBytes(cell Cell, plain []byte) ([]byte, error) {
	if k.aead == nil {
		return nil, ErrErased
	}
	return sealUnder(k.aead, []byte{suites[k.suite].format + ownFormat}, plain, cell.associated()), nil
}

// OpenBytes decrypts what SealBytes gave. NULL opens as nil, and so does everything of somebody erased.
func (k *Key) OpenBytes(cell Cell, sealed []byte) ([]byte, error) {
	if sealed == nil || k.aead == nil {
		return nil, nil
	}
	if len(sealed) > 0 && sealed[0] == suites[k.suite].format+ownFormat {
		if plain, err := openUnder(k.aead, 1, sealed, cell.associated()); err == nil {
			return plain, nil
		}
	}
	return nil, fmt.Errorf("%w: %s.%s of row %s", ErrCannotOpen, cell.Table, cell.Column, cell.Row)
}

// OpenName, OpenNumber and the others decrypt a cell straight into its Secret.
func (k *Key) OpenName(cell Cell, sealed []byte) (Name, error) {
	return open[nameKind](k, cell, sealed)
}

// OpenNumber decrypts the number of an identity document.
func (k *Key) OpenNumber(cell Cell, sealed []byte) (Number, error) {
	return open[numberKind](k, cell, sealed)
}

// OpenPhone decrypts a phone number.
func (k *Key) OpenPhone(cell Cell, sealed []byte) (Phone, error) {
	return open[phoneKind](k, cell, sealed)
}

func open[K kind](k *Key, cell Cell, sealed []byte) (Secret[K], error) {
	plain, err := k.OpenBytes(cell, sealed)
	if err != nil {
		return Secret[K]{}, err
	}
	return hide[K](string(plain)), nil
}
