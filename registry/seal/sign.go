package seal

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// ErrCannotSign says that the key file is from before there were signing keys: liferelay migrate adds one.
var ErrCannotSign = errors.New("seal: the key file has no signing key: run liferelay migrate")

// newSigningKey makes a key of the suite's kind of signature, as a key file keeps it: PKCS #8 in hexadecimal.
func (s Suite) newSigningKey() (string, error) {
	var key any
	var err error
	if s == SM {
		key, err = sm2.GenerateKey(rand.Reader)
	} else {
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		return "", err
	}
	der, err := smx509.MarshalPKCS8PrivateKey(key)
	return hex.EncodeToString(der), err
}

func (s Suite) signer(text string) (crypto.Signer, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // a key file from before there were signing keys
	}
	der, err := hex.DecodeString(text)
	if err == nil {
		var key any
		if key, err = smx509.ParsePKCS8PrivateKey(der); err == nil {
			switch key := key.(type) {
			case *sm2.PrivateKey:
				if s == SM {
					return key, nil
				}
			case ed25519.PrivateKey:
				if s == AES {
					return key, nil
				}
			}
		}
	}
	return nil, errors.New("seal: the signing key of the key file is not one of its suite")
}

// CanSign tells whether the keyring has a signing key.
func (k *Keyring) CanSign() bool { return k.ring.Load().signer != nil }

// AddSigningKey gives a key file from before there were signing keys one, and tells where the file that was replaced is
// kept. A key file that has one keeps it: what it has signed must stay good.
func (k *Keyring) AddSigningKey(ctx context.Context) (backup string, err error) {
	return k.change(ctx, k.service(), func(suite Suite, m *material) (err error) {
		if m.Signing == "" {
			m.Signing, err = suite.newSigningKey()
		}
		return err
	})
}

// Sign signs a text with the key that stays as long as the register does. Unlike a MAC, everybody who has the public key can
// check it, and nobody without the key file can make it.
func (k *Keyring) Sign(text string) ([]byte, error) {
	switch key := k.ring.Load().signer.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(key, []byte(text)), nil
	case *sm2.PrivateKey:
		return key.SignWithSM2(rand.Reader, nil, []byte(text))
	}
	return nil, ErrCannotSign
}

// PublicKey is what others check signatures with, in one line: a SubjectPublicKeyInfo (RFC 5280) in base64. It is empty when
// the keyring cannot sign.
func (k *Keyring) PublicKey() PublicKey {
	signer := k.ring.Load().signer
	if signer == nil {
		return ""
	}
	der, err := smx509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return ""
	}
	return PublicKey(base64.StdEncoding.EncodeToString(der))
}

// PublicKey checks signatures. It is no secret.
type PublicKey string

// Verifier reads the key.
func (p PublicKey) Verifier() (func(text string, signature []byte) bool, error) {
	der, err := base64.StdEncoding.DecodeString(string(p))
	if err != nil {
		return nil, errors.New("seal: a public key is a SubjectPublicKeyInfo in base64, as liferelay audit key prints it")
	}
	key, err := smx509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("seal: a public key is a SubjectPublicKeyInfo in base64, as liferelay audit key prints it")
	}
	switch key := key.(type) {
	case ed25519.PublicKey:
		return func(text string, signature []byte) bool { return ed25519.Verify(key, []byte(text), signature) }, nil
	case *ecdsa.PublicKey:
		if key.Curve == sm2.P256() {
			return func(text string, signature []byte) bool {
				return sm2.VerifyASN1WithSM2(key, nil, []byte(text), signature)
			}, nil
		}
	}
	return nil, fmt.Errorf("seal: a public key is of Ed25519 or SM2, not %T", key)
}
