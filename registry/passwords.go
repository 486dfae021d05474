package registry

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/alexedwards/argon2id"
	"github.com/google/uuid"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
)

// commonPasswords are what is tried first, as far as they are long enough to get here. Runs of neighbouring keys and of one
// character are found without a list.
var commonPasswords = []string{
	"password12", "password123", "password1234", "passw0rd123", "p@ssw0rd123", "password1!", "admin12345", "admin123456", "administrator", "adminadmin", "letmein123",
	"welcome123", "welcome1234", "changeme123", "iloveyou123", "iloveyou1314", "woaini1314", "woaini520", "woaini1314520", "5201314520", "1314520520", "a123456789",
	"aa123456789", "abc123456789", "abcd123456", "abcd1234567", "qq123456789", "123456789a", "123456789q", "1234567890a", "1qaz2wsx3edc", "1q2w3e4r5t", "1q2w3e4r5t6y",
	"q1w2e3r4t5", "qazwsxedcrfv", "zaq12wsxcde3", "qwerty12345", "qwerty123456", "asdfgh123456", "monkey12345", "dragon12345", "football123", "baseball123", "superman123",
	"liferelay123", "redcross123", "hongshizihui", "hongshizi123", "jiangsu123", "nanjing123", "zhongguo123", "china123456", "beijing2008", "beijing123",
	"correcthorsebatterystaple", "onlyforyou", "test123456", "test1234567", "guest12345", "user123456", "root123456", "demo123456", "secret1234",
}

// runs are the keys as they lie beside each other.
var runs = []string{"01234567890", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm", "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p"}

// passwordProblems are what is wrong with a password that is as long as it must be. What it must not be is told, and
// nothing of what it is.
func passwordProblems(field, login, password string) forms.Problems {
	lower := strings.ToLower(password)
	login = strings.ToLower(login)
	bare := strings.Join(strings.FieldsFunc(lower, func(r rune) bool { return r == ' ' || r == '-' || r == '_' || r == '.' }), "")
	var kinds []rune
	for _, r := range bare {
		if !slices.Contains(kinds, r) {
			kinds = append(kinds, r)
		}
	}
	run := slices.ContainsFunc(runs, func(keys string) bool {
		forth := strings.Repeat(keys, 1+len(bare)/len(keys)+1)
		return strings.Contains(forth, bare) || strings.Contains(forth, reversed(bare))
	})
	switch {
	case len(login) >= 3 && (strings.Contains(lower, login) || strings.Contains(login, lower) || strings.Contains(lower, reversed(login))):
		return forms.Problems{{Code: "R181", Field: field}}
	case slices.Contains(commonPasswords, lower), slices.Contains(commonPasswords, bare), len(kinds) < 5, run:
		return forms.Problems{{Code: "R180", Field: field}}
	}
	return nil
}

func reversed(s string) string {
	letters := []rune(s)
	slices.Reverse(letters)
	return string(letters)
}

// PasswordForm changes one's own password.
type PasswordForm struct {
	Old string `json:"old" validate:"required,max=200"`
	New string `json:"new" validate:"required,min=10,max=200"`
}

// ChangePassword changes the caller's own password and ends all their other sessions. A wrong old one counts like a failed
// sign-in.
//
// Errors: Invalid with what is wrong with which of the two; Locked.
func (s *Store) ChangePassword(ctx context.Context, caller Caller, f PasswordForm) error {
	if problems := forms.Check(f); len(problems) > 0 {
		return invalid(problems)
	}
	c, err := s.ownCandidate(ctx, caller.Actor)
	if err != nil {
		return err
	}
	if problems := passwordProblems("new", c.login, f.New); len(problems) > 0 {
		return invalid(problems)
	}
	if err := s.checkOwnPassword(ctx, "ChangePassword", caller.Actor, c, f.Old, "old"); err != nil {
		return err
	}
	if f.Old == f.New {
		return invalid(forms.Problems{{Code: "R182", Field: "new"}})
	}
	hash, err := argon2id.CreateHash(f.New, passwordParams)
	if err != nil {
		return err
	}
	return s.act(ctx, caller.Actor, "ChangePassword", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if err := a.own(policy.Write); err != nil {
			return err
		}
		tag, err := a.Exec(ctx, `UPDATE staff SET password_hash = $3, must_change_password = false, version = version + 1 WHERE id = $1 AND password_hash = $2`, c.id, c.hash, hash)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 { // somebody else changed it meanwhile
			return stale("staff")
		}
		return a.endSessions(ctx, c.id, caller.Session)
	})
}

func (s *Store) ownCandidate(ctx context.Context, actor Actor) (candidate, error) {
	c, known, err := scanCandidate(s.pool.QueryRow(ctx, candidates+`WHERE s.id = $1`, actor.staff))
	if err == nil && !known {
		return c, &Error{Kind: Denied, Code: "denied", Args: map[string]any{"Action": string(policy.Write), "Class": string(policy.Staff)}}
	}
	return c, translate(err)
}

// checkOwnPassword asks somebody who is signed in for their password again.
func (s *Store) checkOwnPassword(ctx context.Context, name string, actor Actor, c candidate, password, field string) error {
	from := From{Request: actor.Request}
	if err := s.locked(ctx, c.login, from); err != nil {
		return err
	}
	match, err := argon2id.ComparePasswordAndHash(password, c.hash)
	if err != nil {
		return err
	}
	if !match {
		return s.refuse(ctx, name, c, from, "password", invalid(forms.Problems{{Code: "R183", Field: field}}))
	}
	return nil
}

// ResetPassword gives somebody a password that is good for one sign-in: then it has to be changed. All their sessions and
// tokens end.
//
// Errors: Refused for a machine, which has none, and for one's own.
func (s *Store) ResetPassword(ctx context.Context, actor Actor, id uuid.UUID) (string, error) {
	once := grouped(randomCode(16))
	hash, err := argon2id.CreateHash(once, passwordParams)
	if err != nil {
		return "", err
	}
	err = s.act(ctx, actor, "ResetPassword", policy.ForAdministration, func(ctx context.Context, a *act) error {
		row, err := a.manage(ctx, id, policy.Decide)
		if err != nil {
			return err
		}
		if row.Kind != personStaff {
			return refused("machine_account")
		}
		_, err = a.Exec(ctx, `UPDATE staff SET password_hash = $2, must_change_password = true, version = version + 1 WHERE id = $1`, id, hash)
		return errors.Join(err, a.forgive(ctx, row.Login), a.endSessions(ctx, id, uuid.Nil), a.revokeTokens(ctx, id))
	})
	if err != nil {
		return "", err
	}
	return once, nil
}
