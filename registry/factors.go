package registry

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
)

const (
	codePeriod    = 30 // seconds, and SHA-1 and six digits: what every telephone's program can do
	recoveryCodes = 10
)

// letters of codes that are read from paper and typed: base32, which has neither 0 nor 1.
var letters = base32.StdEncoding.WithPadding(base32.NoPadding)

func randomCode(n int) string {
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // never fails, by its documentation
	return strings.ToLower(letters.EncodeToString(raw)[:n])
}

// grouped puts a hyphen after every fourth letter.
func grouped(code string) string {
	var out strings.Builder
	for i, r := range code {
		if i > 0 && i%4 == 0 {
			out.WriteByte('-')
		}
		out.WriteRune(r)
	}
	return out.String()
}

// EnrolFactor makes a secret for the actor's telephone and gives it as an otpauth address, once. It counts when a code of
// it has come back: ConfirmFactor.
//
// Errors: Refused when there is one already.
func (s *Store) EnrolFactor(ctx context.Context, actor Actor) (string, error) {
	var address string
	err := s.act(ctx, actor, "EnrolFactor", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if err := a.own(policy.Write); err != nil {
			return err
		}
		var login, kind string
		var enrolled bool
		if err := a.QueryRow(ctx, `SELECT login, kind, totp_since IS NOT NULL FROM staff WHERE id = $1 FOR UPDATE`, actor.staff).Scan(&login, &kind, &enrolled); err != nil {
			return err
		}
		switch {
		case kind != personStaff:
			return refused("machine_account")
		case enrolled:
			return refused("factor_enrolled")
		}
		key, err := totp.Generate(totp.GenerateOpts{Issuer: "Liferelay", AccountName: login, Period: codePeriod, SecretSize: 20, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err != nil {
			return err
		}
		sealed, err := a.keys.Seal(cell("staff", "totp", actor.staff), key.Secret())
		if err != nil {
			return err
		}
		address = key.URL()
		_, err = a.Exec(ctx, `UPDATE staff SET totp_sealed = $2, totp_step = 0 WHERE id = $1`, actor.staff, sealed)
		return err
	})
	if err != nil {
		return "", err
	}
	return address, nil
}

// ConfirmFactor ends an enrolment with a first code, and gives the recovery codes, once. The session that did it counts as
// one with a second factor; the others go on as they are.
//
// Errors: Refused when nothing waits to be confirmed; Invalid for a wrong code, which counts like a failed sign-in.
func (s *Store) ConfirmFactor(ctx context.Context, caller Caller, code string) ([]string, error) {
	c, err := s.ownCandidate(ctx, caller.Actor)
	if err != nil {
		return nil, err
	}
	if err := s.locked(ctx, c.login, From{Request: caller.Request}); err != nil {
		return nil, err
	}
	var out []string
	matched := false
	err = s.act(ctx, caller.Actor, "ConfirmFactor", policy.ForAdministration, func(ctx context.Context, a *act) error {
		out, matched = nil, false
		a.decided = true // a wrong code is written down by refuse
		var waits bool
		if err := a.QueryRow(ctx, `SELECT totp_sealed IS NOT NULL AND totp_since IS NULL FROM staff WHERE id = $1 FOR UPDATE`, c.id).Scan(&waits); err != nil {
			return err
		}
		if !waits {
			return refused("factor_not_begun")
		}
		var err error
		if matched, err = a.takeTOTP(ctx, c.id, code); err != nil || !matched {
			return err
		}
		if err := a.own(policy.Write); err != nil {
			return err
		}
		if _, err := a.Exec(ctx, `UPDATE staff SET totp_since = $2, version = version + 1 WHERE id = $1`, c.id, a.at); err != nil {
			return err
		}
		if _, err := a.Exec(ctx, `UPDATE sessions SET factor = 'totp' WHERE id = $1`, caller.Session); err != nil {
			return err
		}
		out, err = a.newRecoveryCodes(ctx, c.id)
		return err
	})
	if err == nil && !matched {
		err = s.refuse(ctx, "ConfirmFactor", c, From{Request: caller.Request}, "code", invalid(forms.Problems{{Code: "R184", Field: "code"}}))
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (a *act) newRecoveryCodes(ctx context.Context, id uuid.UUID) ([]string, error) {
	if _, err := a.Exec(ctx, `DELETE FROM recovery_codes WHERE staff_id = $1`, id); err != nil {
		return nil, err
	}
	var out []string
	var digests [][]byte
	for range recoveryCodes {
		code := randomCode(12)
		d, _ := a.keys.Index("recovery_code", id.String()+code)
		out, digests = append(out, grouped(code)), append(digests, d[:])
	}
	_, err := a.Exec(ctx, `INSERT INTO recovery_codes (staff_id, code_digest) SELECT $1, unnest($2::bytea[])`, id, digests)
	return out, err
}

// takeCode takes a code of the second factor or a recovery code, each once, and tells which it was: totp, recovery, or
// nothing when it is neither.
func (a *act) takeCode(ctx context.Context, id uuid.UUID, code string) (string, error) {
	code = strings.ToLower(strings.Join(strings.FieldsFunc(code, func(r rune) bool { return r == ' ' || r == '-' }), ""))
	if len(code) == otp.DigitsSix.Length() {
		if matched, err := a.takeTOTP(ctx, id, code); err != nil || matched {
			return "totp", err
		}
		return "", nil
	}
	tag, err := a.Exec(ctx, `UPDATE recovery_codes SET used_at = $3 WHERE staff_id = $1 AND code_digest = ANY($2) AND used_at IS NULL`,
		id, a.keys.Lookups("recovery_code", id.String()+code), a.at)
	if err != nil || tag.RowsAffected() == 0 {
		return "", err
	}
	return "recovery", nil
}

// takeTOTP takes a code of this half minute or of one beside it, when no later one was taken before.
func (a *act) takeTOTP(ctx context.Context, id uuid.UUID, code string) (bool, error) {
	var sealed []byte
	var last int64
	if err := a.QueryRow(ctx, `SELECT totp_sealed, totp_step FROM staff WHERE id = $1 FOR UPDATE`, id).Scan(&sealed, &last); err != nil {
		return false, err
	}
	if sealed == nil {
		return false, nil
	}
	secret, err := a.keys.OpenBytes(cell("staff", "totp", id), sealed)
	if err != nil {
		return false, err
	}
	now := a.at.Unix() / codePeriod
	for step := now - 1; step <= now+1; step++ {
		want, err := totp.GenerateCodeCustom(string(secret), time.Unix(step*codePeriod, 0), totp.ValidateOpts{Period: codePeriod, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err != nil {
			return false, errors.New("registry: a second factor's secret cannot be used") // the library's error may repeat it
		}
		if subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 && step > last {
			_, err := a.Exec(ctx, `UPDATE staff SET totp_step = $2 WHERE id = $1`, id, step)
			return err == nil, err
		}
	}
	return false, nil
}

// ProofForm is what somebody shows who is about to change their own second factor: the password, and a code.
type ProofForm struct {
	Password string `json:"password" validate:"required,max=200"`
	Code     string `json:"code" validate:"required,max=40"`
}

// DisableFactor takes the caller's second factor away, for the password and a code.
//
// Errors: Refused when there is none; Invalid for a wrong password or code, which counts like a failed sign-in; Locked.
func (s *Store) DisableFactor(ctx context.Context, caller Caller, f ProofForm) error {
	return s.proven(ctx, "DisableFactor", caller, f, func(ctx context.Context, a *act) error { return a.removeFactor(ctx, caller.Actor.staff) })
}

// RenewRecoveryCodes gives the caller ten new recovery codes, once, for the password and a code. The old ones are good no more.
//
// Errors: as DisableFactor.
func (s *Store) RenewRecoveryCodes(ctx context.Context, caller Caller, f ProofForm) ([]string, error) {
	var out []string
	err := s.proven(ctx, "RenewRecoveryCodes", caller, f, func(ctx context.Context, a *act) (err error) {
		out, err = a.newRecoveryCodes(ctx, caller.Actor.staff)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// proven does something to the caller's own account for which a session is not enough.
func (s *Store) proven(ctx context.Context, name string, caller Caller, f ProofForm, do func(context.Context, *act) error) error {
	if problems := forms.Check(f); len(problems) > 0 {
		return invalid(problems)
	}
	c, err := s.ownCandidate(ctx, caller.Actor)
	if err != nil {
		return err
	}
	if !c.factor {
		return refused("factor_none")
	}
	if err := s.checkOwnPassword(ctx, name, caller.Actor, c, f.Password, "password"); err != nil {
		return err
	}
	matched := ""
	err = s.act(ctx, caller.Actor, name, policy.ForAdministration, func(ctx context.Context, a *act) error {
		a.decided = true // a wrong code is written down by refuse
		var err error
		if matched, err = a.takeCode(ctx, c.id, f.Code); err != nil || matched == "" {
			return err
		}
		if err := a.own(policy.Write); err != nil {
			return err
		}
		return do(ctx, a)
	})
	if err == nil && matched == "" {
		err = s.refuse(ctx, name, c, From{Request: caller.Request}, "code", invalid(forms.Problems{{Code: "R184", Field: "code"}}))
	}
	return err
}

// ResetFactor takes somebody's second factor away who has lost it, and ends their sessions: whoever has the telephone may
// have those, too.
func (s *Store) ResetFactor(ctx context.Context, actor Actor, id uuid.UUID) error {
	return s.act(ctx, actor, "ResetFactor", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if _, err := a.manage(ctx, id, policy.Decide); err != nil {
			return err
		}
		return errors.Join(a.removeFactor(ctx, id), a.endSessions(ctx, id, uuid.Nil))
	})
}

func (a *act) removeFactor(ctx context.Context, id uuid.UUID) error {
	_, err := a.Exec(ctx, `
		WITH codes AS (DELETE FROM recovery_codes WHERE staff_id = $1), half AS (DELETE FROM signins_half_done WHERE staff_id = $1)
		UPDATE staff SET totp_sealed = NULL, totp_since = NULL, totp_step = 0, version = version + 1 WHERE id = $1`, id)
	return err
}
