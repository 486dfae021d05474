// Package signon asks a provider of single sign-on who somebody is: OpenID Connect, the code flow with PKCE.
//
// It guarantees that what it says of somebody was signed by the provider, for this client, for the browser that was sent
// there, and not long ago. It keeps nothing: what a browser must bring back is made from the secret that the browser keeps,
// so the provider's answer is of use to nobody else. No token of the provider's leaves this package.
package signon

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Config is what the provider and this installation know of each other.
type Config struct {
	Issuer       string // the provider's address
	ClientID     string
	ClientSecret string
	RedirectURL  string // of this installation: …/v1/sso/callback
	LinkBy       Link
}

// Link is how somebody whom the provider knows gets an account of this installation the first time.
type Link string

// The ways. By an administrator only is the way unless another is chosen: whoever may choose their own name or address at
// the provider could else choose an account here.
const (
	LinkByAdministrator Link = "none"
	LinkByEmail         Link = "email"    // the login is an address that the provider has verified
	LinkByUsername      Link = "username" // the login is the provider's preferred_username
)

// The errors. What caused one is not in it: it may repeat a code or a token.
var (
	ErrAway    = errors.New("signon: the provider does not answer")
	ErrRefused = errors.New("signon: the provider's answer does not hold")
)

// patience is how long one question to the provider may take.
const patience = 10 * time.Second

// Provider is a provider of single sign-on. It is found when it is first asked for, so that nothing waits for it.
type Provider struct {
	config Config
	client *http.Client
	now    func() time.Time
	lock   sync.Mutex
	found  *oidc.Provider
	missed time.Time // when it last did not answer
}

// New makes a provider. now is the clock that tokens are held against; nil is the machine's.
func New(c Config, now func() time.Time) *Provider {
	if now == nil {
		now = time.Now
	}
	return &Provider{config: c, now: now, client: &http.Client{Timeout: patience}}
}

// Issuer is the provider's address, as its tokens name it.
func (p *Provider) Issuer() string { return p.config.Issuer }

func (p *Provider) discover(ctx context.Context) (*oidc.Provider, error) {
	p.lock.Lock()
	defer p.lock.Unlock()
	if p.found != nil {
		return p.found, nil
	}
	if time.Since(p.missed) < time.Second { // whoever waited for the one that tried has waited long enough
		return nil, ErrAway
	}
	// The provider keeps the context for fetching keys later, when this request is long gone.
	found, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.client), p.config.Issuer)
	if err != nil {
		p.missed = time.Now()
		return nil, ErrAway
	}
	p.found = found
	return found, nil
}

func (p *Provider) oauth(found *oidc.Provider) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.config.ClientID, ClientSecret: p.config.ClientSecret, RedirectURL: p.config.RedirectURL, Endpoint: found.Endpoint(),
		Scopes: []string{oidc.ScopeOpenID, "profile", "email"},
	}
}

// derived makes something from a browser's secret that tells nothing of the secret.
func derived(secret, what string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = mac.Write([]byte("liferelay signon " + what))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Begin gives the address to which a browser goes. secret is what the browser keeps.
func (p *Provider) Begin(ctx context.Context, state, secret string) (string, error) {
	found, err := p.discover(ctx)
	if err != nil {
		return "", err
	}
	return p.oauth(found).AuthCodeURL(state, oidc.Nonce(derived(secret, "nonce")), oauth2.S256ChallengeOption(derived(secret, "verifier"))), nil
}

// Person is what the provider says of somebody.
type Person struct {
	Subject string
	Login   string // which account here is theirs, as far as the provider's word for it is taken
	Factor  bool   // a second factor was asked for
	Session string // the provider's own
}

// secondFactors are the methods (RFC 8176) that are one beside a password.
var secondFactors = []string{"mfa", "otp", "hwk", "swk", "sms", "fpt", "face", "iris", "sc", "pop"}

// Finish changes a code that a browser brought back for what the provider says of whoever is at it.
func (p *Provider) Finish(ctx context.Context, code, secret string) (Person, error) {
	found, err := p.discover(ctx)
	if err != nil {
		return Person{}, err
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.client), patience)
	defer cancel()
	token, err := p.oauth(found).Exchange(ctx, code, oauth2.VerifierOption(derived(secret, "verifier")))
	if err != nil {
		var answered *oauth2.RetrieveError
		if errors.As(err, &answered) && answered.Response != nil && answered.Response.StatusCode < http.StatusInternalServerError {
			return Person{}, ErrRefused
		}
		return Person{}, ErrAway
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := found.Verifier(&oidc.Config{ClientID: p.config.ClientID, Now: p.now}).Verify(ctx, raw)
	if err != nil {
		return Person{}, verdict(err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(derived(secret, "nonce"))) != 1 {
		return Person{}, ErrRefused
	}
	var claims struct {
		Username string   `json:"preferred_username"`
		Email    string   `json:"email"`
		Verified bool     `json:"email_verified"`
		Session  string   `json:"sid"`
		Methods  []string `json:"amr"`
	}
	if err := id.Claims(&claims); err != nil || id.Subject == "" {
		return Person{}, ErrRefused
	}
	out := Person{Subject: id.Subject, Session: claims.Session}
	out.Factor = slices.ContainsFunc(claims.Methods, func(m string) bool { return slices.Contains(secondFactors, m) })
	switch {
	case p.config.LinkBy == LinkByEmail && claims.Verified:
		out.Login = claims.Email
	case p.config.LinkBy == LinkByUsername:
		out.Login = claims.Username
	}
	return out, nil
}

// Ended is a session that the provider says has ended, or all of a person's when Session is empty.
type Ended struct{ Subject, Session string }

// longestLogout is how old a logout token may be: one that was kept must not end sessions for ever.
const longestLogout = 10 * time.Minute

// SignOut reads a logout token (OpenID Connect Back-Channel Logout).
func (p *Provider) SignOut(ctx context.Context, raw string) (Ended, error) {
	found, err := p.discover(ctx)
	if err != nil {
		return Ended{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	token, err := found.Verifier(&oidc.Config{ClientID: p.config.ClientID, Now: p.now}).VerifyLogout(ctx, raw)
	if err != nil {
		return Ended{}, verdict(err)
	}
	if age := p.now().Sub(token.IssuedAt); age > longestLogout || age < -longestLogout {
		return Ended{}, ErrRefused
	}
	return Ended{token.Subject, token.SessionID}, nil
}

// verdict tells keys that could not be fetched from a token that does not hold.
func verdict(err error) error {
	var network interface{ Timeout() bool }
	if errors.As(err, &network) {
		return ErrAway
	}
	return ErrRefused
}

// Check tells what is wrong with a configuration.
func (c Config) Check() error {
	switch {
	case c.ClientID == "" || c.RedirectURL == "":
		return errors.New("the client's id and the redirect address are needed")
	case !slices.Contains([]Link{"", LinkByAdministrator, LinkByEmail, LinkByUsername}, c.LinkBy):
		return fmt.Errorf("%q is no way to link accounts", c.LinkBy)
	}
	return nil
}
