package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
)

// Answer is what somebody answers to a task, before the case has moved.
type Answer struct {
	TaskID  uuid.UUID
	Step    string          // whose form the body is; empty does not check
	Version int64           // of the task as it was read; zero does not check
	Command string          // the caller's idempotency key
	Form    json.RawMessage // the body of the step's form
}

// Proposed is a stored answer that waits for the protocol to accept it.
type Proposed struct {
	AnswerID uuid.UUID     `json:"answer"`
	TaskID   uuid.UUID     `json:"task"`
	CaseID   uuid.UUID     `json:"case"`
	Protocol Protocol      `json:"protocol"`
	Step     string        `json:"step"`
	Staff    uuid.UUID     `json:"staff"`
	Outcome  forms.Outcome `json:"outcome"`
	// Moved is set when the answer was accepted before: the same command came again.
	Moved *Moved `json:"moved,omitempty"`
}

// ProposeAnswer checks an answer's form and stores it as pending. From here on it is not lost: when the desk does not
// answer, it is delivered later. The same command on the same task is the same answer.
//
// Errors: NotFound, Denied, Invalid with the form's problems, Stale when the task has changed, Refused when it is closed.
func (s *Store) ProposeAnswer(ctx context.Context, actor Actor, in Answer) (Proposed, error) {
	var out Proposed
	err := s.act(ctx, actor, "ProposeAnswer", policy.ForCase, func(ctx context.Context, a *act) error {
		a.repeats = true
		t, err := a.readTask(ctx, in.TaskID, false)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Decide, policy.Case, t.record()); err != nil {
			return err
		}
		if err := a.mayAnswer(t); err != nil {
			return err
		}
		out = Proposed{TaskID: t.ID, CaseID: t.CaseID, Protocol: t.Protocol, Step: t.Step, Staff: actor.staff}
		again, err := a.sameCommand(ctx, t, in, &out)
		if err != nil || again {
			return err
		}
		if in.Step != "" && in.Step != t.Step {
			return refused("another_step", "Step", t.Step)
		}
		if in.Version != 0 && in.Version != t.Version {
			return stale("task")
		}
		if t.Status != "open" {
			return refused("task_closed", "Status", t.Status)
		}
		if err := a.notHeld(ctx, t.ID); err != nil {
			return err
		}
		step, ok := steps[t.Step]
		if !ok {
			return fmt.Errorf("registry: the step %s has no form", t.Step)
		}
		if err := a.oneDuty(ctx, t); err != nil {
			return err
		}
		form, problems := readForm(step, in.Form)
		if len(problems) > 0 {
			return invalid(problems)
		}
		out.Outcome = form.Summary()
		if step.enrich != nil {
			if err := step.enrich(ctx, a, t, form, &out.Outcome); err != nil {
				return err
			}
		}
		out.AnswerID = newID()
		of, key, err := a.ownerOfCase(ctx, t.CaseID, t.Seat)
		if err != nil {
			return err
		}
		body, err := key.SealBytes(cell("answers", "form", out.AnswerID), in.Form)
		if err != nil {
			return sealed(err)
		}
		outcome, err := json.Marshal(out.Outcome)
		if err != nil {
			return err
		}
		_, err = a.Exec(ctx, `
			WITH replaced AS (UPDATE answers SET status = 'superseded', next_at = NULL WHERE task_id = $2 AND staff_id = $5 AND status = 'pending')
			INSERT INTO answers (id, task_id, case_id, actor, staff_id, command, outcome, form_sealed, status, purpose, next_at, key_of)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'pending', $9, now() + interval '15 seconds', $10)`,
			out.AnswerID, t.ID, t.CaseID, actor.subject, actor.staff, in.Command, outcome, body, string(a.purpose), of)
		return err
	})
	return out, err
}

// sameCommand finds an answer that the same person gave with the same command, and what became of it. Another form under
// the same command is refused: it would be lost.
func (a *act) sameCommand(ctx context.Context, t taskRow, in Answer, out *Proposed) (bool, error) {
	var status, refusal string
	var outcome, sealed, wrapped []byte
	var of *uuid.UUID
	err := a.QueryRow(ctx, `SELECT id, status, refused_code, outcome, form_sealed, key_of, `+wrappedOf+` FROM answers WHERE task_id = $1 AND actor = $2 AND command = $3`, t.ID, a.actor.subject, in.Command).
		Scan(&out.AnswerID, &status, &refusal, &outcome, &sealed, &of, &wrapped)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	key, err := a.ownersKey(of, wrapped)
	if err != nil {
		return false, err
	}
	known, err := key.OpenBytes(cell("answers", "form", out.AnswerID), sealed)
	if err != nil {
		return false, err
	}
	if !bytes.Equal(known, in.Form) {
		return false, refused("idempotency_key_reused")
	}
	if err := json.Unmarshal(outcome, &out.Outcome); err != nil {
		return false, err
	}
	switch status {
	case "refused":
		return true, refused(refusal)
	case "superseded":
		return true, refused("answer_superseded")
	case "accepted", "struck":
		known, err := a.knownMove(ctx, out.AnswerID)
		out.Moved = &known.Moved
		return true, err
	}
	return true, nil // pending: deliver it again
}

func (a *act) knownMove(ctx context.Context, answer uuid.UUID) (Settled, error) {
	var known []byte
	var m Settled
	if err := a.QueryRow(ctx, `SELECT result FROM command_log WHERE key = $1`, settleKey(answer)).Scan(&known); err != nil {
		return m, err
	}
	return m, json.Unmarshal(known, &m)
}

func settleKey(answer uuid.UUID) string { return "settle/" + answer.String() }

// readForm reads a step's form and holds it against its rules.
func readForm(step step, body json.RawMessage) (forms.Form, forms.Problems) {
	form := step.form()
	var problems forms.Problems
	if err := forms.Decode(body, form); err != nil {
		errors.As(err, &problems)
		return nil, problems
	}
	problems = forms.Check(form)
	if own, ok := form.(interface{ Problems() forms.Problems }); ok && len(problems) == 0 {
		problems = own.Problems()
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return form.(forms.Form), nil
}

// Settle is an accepted answer and where it takes the case.
type Settle struct {
	AnswerID uuid.UUID  `json:"answer"`
	Version  int64      `json:"version"` // of the case
	At       time.Time  `json:"at"`
	Move     Move       `json:"move"`
	CloseAll bool       `json:"close_all,omitempty"` // the other tasks of the case are void now
	Asks     []Question `json:"asks,omitempty"`      // what is asked where it leads
}

// Settled is a move with the tasks that it opened, in the order of what was asked.
type Settled struct {
	Moved
	Tickets []Ticket `json:"tickets,omitempty"`
}

// SettleAnswer accepts a pending answer: in one transaction the answer is recorded with all that it says, its task is
// closed, the case moves, with a version check, and the next questions are asked. A retry finds the first result. When a
// rule stands against it, the answer is marked as refused, with the code, and the case stays.
//
// The person who answered acts here, not the system: what they may do is decided again, as is whether the donor still
// consents.
func (s *Store) SettleAnswer(ctx context.Context, in Settle) (Settled, error) {
	actor, err := s.answerer(ctx, in.AnswerID)
	if err == nil {
		var out Settled
		err = s.act(ctx, actor, "SettleAnswer", policy.ForCase, func(ctx context.Context, a *act) (err error) {
			a.at = in.At
			out, err = a.settle(ctx, in)
			return err
		})
		if err == nil {
			return out, nil
		}
	}
	switch KindOf(err) {
	case Refused, Denied, Conflict, NotFound, Unsigned, Invalid:
		if marked := s.refuseAnswer(ctx, in.AnswerID, CodeOf(err)); marked != nil {
			return Settled{}, marked
		}
	}
	return Settled{}, err
}

// answerer recognises who gave an answer. The error is Unsigned when the person does not work here any more.
func (r *Reader) answerer(ctx context.Context, answer uuid.UUID) (Actor, error) {
	return r.recognise(ctx, `FROM answers w JOIN staff s ON s.id = w.staff_id JOIN organisations o ON o.id = s.organisation_id WHERE w.id = $1 AND s.active AND o.active`, answer)
}

// RefuseAnswer marks a pending answer that its protocol does not take, so that nobody delivers it again.
func (s *Store) RefuseAnswer(ctx context.Context, id uuid.UUID, code string) error {
	return s.refuseAnswer(ctx, id, code)
}

func (s *Store) refuseAnswer(ctx context.Context, id uuid.UUID, code string) error {
	return s.internally(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE answers SET status = 'refused', refused_code = $2, decided_at = now(), next_at = NULL WHERE id = $1 AND status = 'pending'`, id, code)
		return err
	})
}

// answerRow is a given answer with its task and its case.
type answerRow struct {
	status          string
	command         string
	outcome, sealed []byte
	keyOf           *uuid.UUID // whose key sealed it
	wrapped         []byte
	task            taskRow
	of              caseRow
	held            bool   // by somebody else
	registration    string // the status of the registration that the case is about
}

// readAnswer reads an answer and locks its case. The case is locked before its tasks, everywhere, so that two who move
// it wait for each other instead of both failing; what belongs to it is read once the lock is there.
func (a *act) readAnswer(ctx context.Context, id uuid.UUID) (answerRow, error) {
	var w answerRow
	var b pgx.Batch
	b.Queue(`SELECT `+caseColumns+` FROM cases c WHERE c.id = (SELECT case_id FROM answers WHERE id = $1) FOR UPDATE`, id).Query(func(rows pgx.Rows) (err error) {
		w.of, err = pgx.CollectExactlyOneRow(rows, scanCase)
		return err
	})
	b.Queue(`SELECT status, command, outcome, form_sealed, key_of, `+wrappedOf+` FROM answers WHERE id = $1`, id).QueryRow(func(row pgx.Row) error {
		return row.Scan(&w.status, &w.command, &w.outcome, &w.sealed, &w.keyOf, &w.wrapped)
	})
	b.Queue(`SELECT `+taskColumns+` FROM tasks t JOIN cases c ON c.id = t.case_id WHERE t.id = (SELECT task_id FROM answers WHERE id = $1)`, id).Query(func(rows pgx.Rows) (err error) {
		w.task, err = pgx.CollectExactlyOneRow(rows, scanTask)
		return err
	})
	b.Queue(`SELECT EXISTS (SELECT FROM task_leases l JOIN answers w ON w.task_id = l.task_id WHERE w.id = $1 AND l.staff_id <> w.staff_id AND l.until > $2)`, id, a.now()).QueryRow(func(row pgx.Row) error {
		return row.Scan(&w.held)
	})
	// Read again in the transaction that would disclose or proceed: nobody withdraws while it runs.
	b.Queue(`SELECT status FROM registrations WHERE id = (SELECT c.subject_id FROM answers w JOIN cases c ON c.id = w.case_id WHERE w.id = $1) FOR SHARE`, id).Query(func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{&w.registration}, func() error { return nil })
		return err
	})
	err := a.SendBatch(ctx, &b).Close()
	if errors.Is(err, pgx.ErrNoRows) {
		return w, a.absent("answer", id)
	}
	return w, err
}

func (a *act) settle(ctx context.Context, in Settle) (Settled, error) {
	w, err := a.readAnswer(ctx, in.AnswerID)
	if err != nil {
		return Settled{}, err
	}
	a.actor.Request = w.command
	t, c := w.task, w.of
	if err := a.permit(policy.Decide, policy.Case, t.record()); err != nil {
		return Settled{}, err
	}
	if w.status == "accepted" {
		return a.knownMove(ctx, in.AnswerID)
	}
	switch {
	case w.status == "superseded":
		return Settled{}, refused("answer_superseded")
	case w.status != "pending" || t.Status != "open":
		return Settled{}, refused("task_closed", "Status", t.Status)
	}
	if err := a.mayAnswer(t); err != nil {
		return Settled{}, err
	}
	if w.held { // somebody has claimed the task since the answer was given; who, is not for a history of the desk
		return Settled{}, &Error{Kind: Conflict, Code: "task_held"}
	}
	if err := w.stillConsents(); err != nil {
		return Settled{}, err
	}
	if err := a.otherPerson(ctx, t); err != nil {
		return Settled{}, err
	}
	if err := a.oneDuty(ctx, t); err != nil {
		return Settled{}, err
	}
	o, err := a.recordAnswer(ctx, in.AnswerID, w)
	if err != nil {
		return Settled{}, err
	}
	_, err = a.Exec(ctx, `
		WITH accepted AS (UPDATE answers SET status = 'accepted', decided_at = now(), next_at = NULL WHERE id = $1),
			free AS (DELETE FROM task_leases WHERE task_id = $2),
			void AS (UPDATE tasks SET status = 'cancelled', closed_at = $3, version = version + 1 WHERE $4 AND case_id = $5 AND id <> $2 AND status = 'open')
		UPDATE tasks SET status = 'done', answer_id = $1, closed_at = $3, version = version + 1 WHERE id = $2`, in.AnswerID, t.ID, a.at, in.CloseAll, c.ID)
	if err != nil {
		return Settled{}, err
	}
	a.event(Event{Code: t.Step + "." + o.Code, CaseID: c.ID, Args: eventArgs(o)})
	var out Settled
	if out.Moved, err = a.move(ctx, &c, in.Version, in.Move); err != nil {
		return Settled{}, err
	}
	for _, q := range in.Asks {
		ticket, err := a.openTask(ctx, c, q)
		if err != nil {
			return Settled{}, err
		}
		out.Tickets = append(out.Tickets, ticket)
		if a.mayAnswer(ticket.asked) == nil {
			out.Yours = append(out.Yours, ticket.TaskID)
		}
	}
	return out, a.remember(settleKey(in.AnswerID), out)
}

// recordAnswer writes to the records what an accepted answer says.
func (a *act) recordAnswer(ctx context.Context, id uuid.UUID, w answerRow) (forms.Outcome, error) {
	var o forms.Outcome
	key, err := a.ownersKey(w.keyOf, w.wrapped)
	if err != nil {
		return o, err
	}
	body, err := key.OpenBytes(cell("answers", "form", id), w.sealed)
	if err != nil {
		return o, err
	}
	step := steps[w.task.Step]
	form, problems := readForm(step, body)
	if len(problems) > 0 {
		return o, invalid(problems)
	}
	if err := json.Unmarshal(w.outcome, &o); err != nil {
		return o, err
	}
	if problems := a.datesOf(o); len(problems) > 0 {
		return o, invalid(problems)
	}
	if step.record == nil {
		return o, nil
	}
	return o, step.record(ctx, a, w.of, w.task, form, o)
}

// stillConsents refuses what a donor who has withdrawn would have to agree to. After the point of no return the
// patient's life goes first: the steps that save it take answers even then.
func (w answerRow) stillConsents() error {
	if w.of.Protocol == StemCellProtocol && w.registration == "withdrawn" && !steps[w.task.Step].afterWithdrawal {
		return refused("donor_withdrew")
	}
	return nil
}

// otherPerson keeps the second signature of a step from being the first signer's.
func (a *act) otherPerson(ctx context.Context, t taskRow) error {
	// Seats that are counted (#1, #2) are different people's; named ones (#donor) are roles that one person may have.
	if _, number, counted := strings.Cut(t.Seat, "#"); !counted || number[0] > '9' {
		return nil
	}
	var same bool
	err := a.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM answers w JOIN tasks o ON o.id = w.task_id
			WHERE o.case_id = $1 AND o.step = $2 AND o.round = $3 AND w.status = 'accepted' AND w.staff_id = $4)`, t.CaseID, t.Step, t.Round, a.actor.staff).Scan(&same)
	if err != nil {
		return err
	}
	if same {
		return refused("second_person")
	}
	return nil
}

// datesOf refuses what an answer says happened after the case's now.
func (a *act) datesOf(o forms.Outcome) forms.Problems {
	switch today := a.today(); {
	case o.On.IsZero() || o.Code == "booked":
		return nil
	case o.On.After(today):
		return forms.Problems{{Code: "R138", Field: "on", Args: map[string]any{"Today": today.String()}}}
	default:
		return nil
	}
}

// eventArgs are the arguments of an outcome's sentence.
func eventArgs(o forms.Outcome) map[string]any {
	args := map[string]any{}
	set := func(name, value string) {
		if value != "" {
			args[name] = value
		}
	}
	set("Reason", o.Reason)
	set("On", o.On.String())
	set("Until", o.Until.String())
	set("Region", string(o.Region))
	if o.Day > 0 {
		args["Day"] = o.Day
	}
	if o.Window != nil {
		set("Conditioning", o.Window.Conditioning.String())
		set("Mobilisation", o.Window.Mobilisation.String())
		set("Collection", o.Window.Collection.String())
	}
	if o.Code == "collected" {
		args["Sufficient"] = o.Sufficient
	}
	if len(o.Flags) > 0 {
		args["Flags"] = strings.Join(o.Flags, ", ")
	}
	return args
}

// Pending are answers that wait for a desk that did not answer when they were given.
func (s *Store) PendingAnswers(ctx context.Context, most int, lease time.Duration) ([]Proposed, error) {
	var out []Proposed
	err := s.internally(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
		UPDATE answers w SET next_at = now() + make_interval(secs => $2)
		FROM tasks t JOIN cases c ON c.id = t.case_id
		WHERE t.id = w.task_id AND w.id IN (SELECT id FROM answers WHERE status = 'pending' AND next_at <= now() ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED)
		RETURNING w.id, w.task_id, w.case_id, c.protocol, t.step, w.staff_id, w.outcome`, most, lease.Seconds())
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (p Proposed, err error) {
			return p, row.Scan(&p.AnswerID, &p.TaskID, &p.CaseID, &p.Protocol, &p.Step, &p.Staff, &p.Outcome)
		})
		return err
	})
	return out, err
}

// AnswerState tells what became of an answer: its status, and the move it made.
func (s *Store) AnswerState(ctx context.Context, actor Actor, id uuid.UUID) (status, refusal string, moved Moved, err error) {
	err = s.act(ctx, actor, "AnswerState", policy.ForCase, func(ctx context.Context, a *act) error {
		var taskID uuid.UUID
		if err := a.QueryRow(ctx, `SELECT task_id, status, refused_code FROM answers WHERE id = $1`, id).Scan(&taskID, &status, &refusal); err != nil {
			if errors.Is(err, pgx.ErrNoRows) {
				return a.absent("answer", id)
			}
			return err
		}
		t, err := a.readTask(ctx, taskID, false)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Case, t.record()); err != nil {
			return err
		}
		if status == "accepted" || status == "struck" {
			var known Settled
			known, err = a.knownMove(ctx, id)
			moved = known.Moved
		}
		return err
	})
	return status, refusal, moved, err
}
