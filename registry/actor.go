package registry

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
)

// Actor is who calls: a signed-in member of staff, a protocol, or an operator at the machine. Only the registry makes
// one, so whoever holds an Actor has been recognised.
type Actor struct {
	subject      string // staff:<id>, system:<workflow>, operator:<account>, volunteer:<drive>; in the audit also login:<digest>, for a sign-in
	organisation uuid.UUID
	region       identity.Region // of the organisation
	staff        uuid.UUID
	drive        uuid.UUID      // whose public form is open, of a volunteer: then they are nobody else
	proof        *proof         // what their first act has to find out, of somebody who is only known; see Known
	Name         string         // how the person is shown to colleagues
	Locale       lang.Locale    // the language the person reads
	Purpose      policy.Purpose // why, when the caller says so; else each method's own purpose
	Request      string         // the request's id, for the audit
	Address      string         // the network address that the request came from, for the audit
	Command      string         // the request's idempotency key, when it has one: an act that wrote something marks it as done
}

// Subject names the actor in audit and events.
func (a Actor) Subject() string { return a.subject }

// Staff is the member of staff, or zero.
func (a Actor) Staff() uuid.UUID { return a.staff }

// Organisation is where the member of staff works, or zero.
func (a Actor) Organisation() uuid.UUID { return a.organisation }

// policySubject is whom the grants speak of: one subject for every protocol, and one for everybody who has a public form open.
func (a Actor) policySubject() string {
	if a.drive != uuid.Nil {
		return policy.Volunteer
	}
	if a.staff == uuid.Nil {
		return policy.System
	}
	return a.subject
}

// isSystem refuses everybody but the system's own work: acts that look whether there is anything to do before they begin.
func (a Actor) isSystem() error {
	if a.policySubject() != policy.System {
		return &Error{Kind: Denied, Code: "denied", Args: map[string]any{"Action": string(policy.Write), "Class": string(policy.Notice)}}
	}
	return nil
}

const nation = identity.Nation

// System is the actor of a protocol: name says which, such as the workflow's id.
func System(name string) Actor {
	return Actor{subject: "system:" + name, region: nation, Locale: lang.Chinese}
}

// Operator is the actor of somebody who holds the installation's keys and works at its machine.
func Operator(account string) Actor {
	return Actor{subject: "operator:" + account, region: nation, Locale: lang.Chinese}
}

func staffSubject(id uuid.UUID) string { return "staff:" + id.String() }

// ActorOf recognises a member of staff on whose behalf a protocol goes on: who answered a task is who acts when the
// answer is accepted. The error is Unsigned when the person does not work here any more.
func (r *Reader) ActorOf(ctx context.Context, staff uuid.UUID) (Actor, error) {
	return r.recognise(ctx, `FROM staff s JOIN organisations o ON o.id = s.organisation_id WHERE s.id = $1 AND s.active AND o.active`, staff)
}

// ActorByLogin recognises a member of staff for a command at the machine, where holding the keys stands for a password.
func (r *Reader) ActorByLogin(ctx context.Context, login string) (Actor, error) {
	return r.recognise(ctx, `FROM staff s JOIN organisations o ON o.id = s.organisation_id WHERE lower(s.login) = lower($1) AND s.active AND o.active`, login)
}

func (r *Reader) recognise(ctx context.Context, from string, args ...any) (Actor, error) {
	var a Actor
	var region, locale string
	err := r.pool.QueryRow(ctx, `SELECT s.id, s.display_name, s.locale, o.id, o.region `+from, args...).
		Scan(&a.staff, &a.Name, &locale, &a.organisation, &region)
	if errors.Is(err, pgx.ErrNoRows) {
		return Actor{}, &Error{Kind: Unsigned, Code: "not_signed_in"}
	}
	if err != nil {
		return Actor{}, translate(err)
	}
	a.subject, a.region, a.Locale = staffSubject(a.staff), identity.Region(region), lang.Locale(locale)
	return a, nil
}
