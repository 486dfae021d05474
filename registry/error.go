package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"

	"github.com/liferelay/liferelay/registry/forms"
)

// Kind tells a caller what to do about an error.
type Kind string

// The kinds.
const (
	NotFound     Kind = "not_found"    // there is no such record, or the actor may not know of it
	Denied       Kind = "denied"       // the actor sees the record and may not do this with it
	Unsigned     Kind = "unsigned"     // nobody is signed in, or not any more
	Invalid      Kind = "invalid"      // the form breaks rules: mend it and send it again
	Refused      Kind = "refused"      // a rule of the protocol stands against it now
	Stale        Kind = "stale"        // the record has moved on since it was read: read it again
	Conflict     Kind = "conflict"     // somebody else was first
	Locked       Kind = "locked"       // too many attempts: wait
	Unavailable  Kind = "unavailable"  // the database or the desk does not answer: try again
	Incompatible Kind = "incompatible" // the installation and the program do not fit: an operator has to look
)

// Error is what the registry's methods return. Code names the sentence that people read (lang: "error."+Code); Args are
// its limits and codes. Whatever wraps an Error must not change it.
type Error struct {
	Kind       Kind
	Code       string
	Args       map[string]any
	Problems   forms.Problems // for Invalid
	RetryAfter time.Duration  // for Locked and Unavailable
	cause      error
}

func (e *Error) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("registry: %s (%s): %v", e.Kind, e.Code, e.cause)
	}
	return fmt.Sprintf("registry: %s (%s)", e.Kind, e.Code)
}

// Unwrap gives the cause, for logs.
func (e *Error) Unwrap() error { return e.cause }

// NewError makes an error of a kind and code: what came back from the desk in a workflow's failure.
func NewError(kind Kind, code string, args map[string]any) *Error {
	return &Error{Kind: kind, Code: code, Args: args}
}

// KindOf returns the kind of an error, empty for one that is not the registry's.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

// CodeOf returns the code of an error, empty for one that is not the registry's.
func CodeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func missing(what string) *Error { return &Error{Kind: NotFound, Code: what + "_not_found"} }

func refused(code string, args ...any) *Error {
	return &Error{Kind: Refused, Code: code, Args: pairs(args)}
}

// Invalidated is the error of a form that breaks rules.
func Invalidated(problems forms.Problems) error { return invalid(problems) }

func invalid(problems forms.Problems) *Error {
	return &Error{Kind: Invalid, Code: "form_invalid", Problems: problems}
}

func stale(what string) *Error { return &Error{Kind: Stale, Code: what + "_changed"} }

func pairs(kv []any) map[string]any {
	if len(kv) == 0 {
		return nil
	}
	out := make(map[string]any, len(kv)/2)
	for i := 0; i+1 < len(kv); i += 2 {
		out[kv[i].(string)] = kv[i+1]
	}
	return out
}

// The constraints that people run into, and what breaking one means.
var constraints = map[string]Error{
	"reservations_one_open":      {Kind: Conflict, Code: "donor_reserved"},
	"person_documents_number":    {Kind: Conflict, Code: "person_registered"},
	"registrations_one_each":     {Kind: Conflict, Code: "programme_registered"},
	"specimens_barcode_key":      {Kind: Conflict, Code: "barcode_taken"},
	"staff_login":                {Kind: Conflict, Code: "login_taken"},
	"rights_requests_one_open":   {Kind: Conflict, Code: "rights_asked"},
	"batches_file":               {Kind: Conflict, Code: "file_uploaded"},
	"answers_accepted_once":      {Kind: Conflict, Code: "task_answered"},
	"staff_organisation_id_fkey": {Kind: NotFound, Code: "organisation_not_found"},
	"drive_team_staff_id_fkey":   {Kind: NotFound, Code: "staff_not_found"},
	"staff_identities_pkey":      {Kind: Conflict, Code: "identity_taken"},
	"clock_requests_one_waiting": {Kind: Conflict, Code: "clock_asked"},
	"handovers_one_open":         {Kind: Conflict, Code: "handover_offered"},
	"consents_witness_id_fkey":   {Kind: NotFound, Code: "witness_not_found"},
}

// translate turns what PostgreSQL says into what it means, in one place.
func translate(err error) error {
	if err == nil {
		return nil
	}
	var own *Error
	if errors.As(err, &own) {
		return err
	}
	var pg *pgconn.PgError
	var connect *pgconn.ConnectError
	switch {
	case errors.As(err, &pg):
		if known, ok := constraints[pg.ConstraintName]; ok {
			known.cause = err
			return &known
		}
		switch pg.Code[:2] {
		case "08", "53", "57": // connection, resources, operator intervention
			return &Error{Kind: Unavailable, Code: "database_unavailable", RetryAfter: 2 * time.Second, cause: err}
		}
		if pg.Code == "55P03" || retryable(err) { // lock_timeout, or lost against others too often
			return &Error{Kind: Unavailable, Code: "busy", RetryAfter: time.Second, cause: err}
		}
	case errors.As(err, &connect), errors.Is(err, pgx.ErrTxClosed), pgconn.SafeToRetry(err), cut(err):
		return &Error{Kind: Unavailable, Code: "database_unavailable", RetryAfter: 2 * time.Second, cause: err}
	}
	return err
}

// SQLState is the code of an error that PostgreSQL answered with, empty for any other: for whoever sets an installation up, whose
// sentence tells what to mend.
func SQLState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// cut tells whether the connection was lost under way, and not given up by whoever waited.
func cut(err error) bool {
	var network *net.OpError
	abandoned := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	return !abandoned && (errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF))
}

// describe tells a log what went wrong inside, without what it went wrong with: PostgreSQL's messages may repeat values.
func describe(err error) []zap.Field {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return []zap.Field{
			zap.String("sqlstate", pg.Code), zap.String("constraint", pg.ConstraintName), zap.String("table", pg.TableName), zap.String("column", pg.ColumnName),
			zap.String("routine", pg.Routine), zap.Int32("position", pg.Position),
		}
	}
	return []zap.Field{zap.String("error", err.Error())}
}

// retryable tells whether a transaction lost against another and may simply be tried again: the two could not be
// serialised, they locked each other, or the other was the same command (see remember).
func retryable(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01" || pg.ConstraintName == "command_log_pkey")
}
