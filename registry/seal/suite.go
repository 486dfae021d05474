package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"

	"github.com/emmansun/gmsm/sm3"
	"github.com/emmansun/gmsm/sm4"
)

// Suite is the family of algorithms that an installation seals with, chosen when its register is made and never changed.
type Suite string

// The suites. SM is for where the law asks for the commercial cryptography of China (GB/T 39786).
const (
	AES Suite = "aes" // AES-256-GCM and HMAC-SHA-256
	SM  Suite = "sm"  // SM4-GCM and HMAC-SM3
)

// The algorithms of each suite. Formats are written into values and never used for anything else.
var suites = map[Suite]struct {
	name    string
	format  byte // of what the installation's own keys sealed; what a person's key sealed has ownFormat added
	keySize int
	block   func(key []byte) (cipher.Block, error)
	hash    func() hash.Hash
}{
	AES: {"AES-256-GCM, HMAC-SHA-256", 0x01, 32, aes.NewCipher, sha256.New},
	SM:  {"SM4-GCM, HMAC-SM3", 0x02, 16, sm4.NewCipher, sm3.New},
}

// A sealed value tells by itself how it was sealed:
//
//	format, version of the key (4 bytes), nonce (12), ciphertext, tag (16)   under a key of the installation
//	format + 0x10, nonce (12), ciphertext, tag (16)                          under a person's key
const (
	ownFormat   = 0x10
	versionSize = 4
	digestSize  = 32
)

// Valid tells whether there is such a suite.
func (s Suite) Valid() bool { return suites[s].name != "" }

// String names the suite's algorithms.
func (s Suite) String() string { return suites[s].name }

func (s Suite) newKey() []byte { return random(suites[s].keySize) }

func random(n int) []byte {
	out := make([]byte, n)
	_, _ = rand.Read(out) // never fails, by its documentation
	return out
}

func (s Suite) aead(key []byte) (cipher.AEAD, error) {
	if len(key) != suites[s].keySize {
		return nil, fmt.Errorf("seal: a key of %s has %d bytes, not %d", s, suites[s].keySize, len(key))
	}
	block, err := suites[s].block(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (s Suite) digest(key []byte, column, value string) (d Digest) {
	mac := hmac.New(suites[s].hash, key)
	mac.Write([]byte(column))
	mac.Write([]byte{0})
	mac.Write([]byte(value))
	mac.Sum(d[:0])
	return d
}

// sealUnder puts what a key makes of plain behind a header.
func sealUnder(key cipher.AEAD, header, plain, associated []byte) []byte {
	nonce := len(header)
	out := make([]byte, nonce+key.NonceSize(), nonce+key.NonceSize()+len(plain)+key.Overhead())
	copy(out, header)
	_, _ = rand.Read(out[nonce:])
	return key.Seal(out, out[nonce:], plain, associated)
}

// openUnder opens what stands behind a header.
func openUnder(key cipher.AEAD, header int, sealed, associated []byte) ([]byte, error) {
	if len(sealed) < header+key.NonceSize()+key.Overhead() {
		return nil, ErrCannotOpen
	}
	nonce := sealed[header : header+key.NonceSize()]
	return key.Open(nil, nonce, sealed[header+key.NonceSize():], associated)
}

// versioned is one of the installation's keys, ready for use.
type versioned struct {
	version uint32
	aead    cipher.AEAD
	header  []byte
}

func (s Suite) versioned(version uint32, key []byte) (versioned, error) {
	ready, err := s.aead(key)
	return versioned{version, ready, binary.BigEndian.AppendUint32([]byte{suites[s].format}, version)}, err
}

// versionOf reads the version of the installation's key that sealed a value.
func (s Suite) versionOf(sealed []byte) (uint32, bool) {
	if len(sealed) < 1+versionSize || sealed[0] != suites[s].format {
		return 0, false
	}
	return binary.BigEndian.Uint32(sealed[1:]), true
}
