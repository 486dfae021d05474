package registry

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
)

// Whose a task is. Assigning gives it to a colleague until somebody gives it to another. Claiming says that somebody is at it now: a lease,
// renewed while the page is open, that ends by itself. While it lives nobody else's answer is taken, and of two who claim at once one gets
// it, because the table has one row a task.

// LeaseForm takes a task over from whoever is at it.
type LeaseForm struct {
	Reason string    `json:"reason" validate:"required,oneof=absent urgent_case stuck by_mistake"`
	To     uuid.UUID `json:"to,omitzero" doc:"A colleague who goes on with it; nobody when absent."`
}

// AssignForm gives a task to a colleague.
type AssignForm struct {
	Staff uuid.UUID `json:"staff,omitzero" doc:"Who is to answer it; absent takes it back from whoever has it."`
}

// AssignManyForm gives up to a hundred tasks to a colleague.
type AssignManyForm struct {
	Staff uuid.UUID   `json:"staff,omitzero" doc:"Who is to answer them; absent takes them back."`
	Tasks []uuid.UUID `json:"tasks" validate:"required,min=1,max=100,unique"`
}

// Assigned is what became of one of many tasks.
type Assigned struct {
	Task uuid.UUID `json:"task" class:"case" mask:"drop"`
	Done bool      `json:"done" class:"case" mask:"drop"`
	Code string    `json:"code,omitempty" doc:"Why it was not done." class:"case" mask:"drop"`
	Text string    `json:"text,omitempty" class:"case" mask:"drop"`
}

// officeRoles are those whose holders supervise the work of their region.
var officeRoles = []policy.Role{policy.CountyOffice, policy.CityOffice, policy.ProvincialOffice}

// supervised are the roles whose work an office of the region supervises: the Red Cross's own.
var supervised = append([]policy.Role{policy.Coordinator, policy.Registrar}, officeRoles...)

// moved lets open pages hear that something moved, without telling what: whose a task is stands in no outbox.
func (a *act) moved() { a.writes.Queue(`SELECT pg_notify('outbox', '')`) }

// supervises tells whether the actor supervises a task: they hold an office of its region, and it is the Red Cross's work.
func (a *act) supervises(t taskRow) bool {
	if !slices.Contains(supervised, t.Role) {
		return false
	}
	subject, path := a.actor.policySubject(), regionPath(t.Region)
	office := slices.ContainsFunc(officeRoles, func(role policy.Role) bool { return a.policy.Holds(subject, role, path) })
	return office && a.policy.Mask(subject, path, policy.InRegion, policy.ForAdministration).May(policy.Decide, policy.Case)
}

// permitWork permits what is done about a task beside answering it: to whoever may answer it, and to who supervises it.
func (a *act) permitWork(t taskRow) error { return a.permitWorkOn(t, t.record()) }

// permitWorkOn is permitWork for another record than the task's: a case, of which the task is what its coordinator is asked.
func (a *act) permitWorkOn(t taskRow, rec record) error {
	if a.mayAnswer(t) != nil && a.supervises(t) {
		a.purpose = policy.ForAdministration
		return a.permit(policy.Decide, policy.Case, rec)
	}
	if err := a.permit(policy.Decide, policy.Case, rec); err != nil {
		return err
	}
	return a.mayAnswer(t)
}

// permitSupervision permits what only a supervisor of the task does.
func (a *act) permitSupervision(t taskRow) error {
	a.purpose = policy.ForAdministration
	if err := a.permit(policy.Decide, policy.Case, t.record()); err != nil {
		return err
	}
	if !a.supervises(t) {
		return &Error{Kind: Denied, Code: "task_not_supervised"}
	}
	return nil
}

// leaseRow is who is at a task.
type leaseRow struct {
	staff uuid.UUID
	name  string
	until time.Time
}

// liveLease finds who is at a task now; nobody is the zero row.
func (a *act) liveLease(ctx context.Context, task uuid.UUID) (l leaseRow, err error) {
	err = a.QueryRow(ctx, `SELECT l.staff_id, s.display_name, l.until FROM task_leases l JOIN staff s ON s.id = l.staff_id WHERE l.task_id = $1 AND l.until > $2`, task, a.now()).
		Scan(&l.staff, &l.name, &l.until)
	if errors.Is(err, pgx.ErrNoRows) {
		return leaseRow{}, nil
	}
	return l, err
}

// held is the refusal to whoever may answer the task, too: they are colleagues, and are told who it is.
func (l leaseRow) held() error {
	return &Error{Kind: Conflict, Code: "task_held", Args: map[string]any{"Holder": l.name, "Until": clockTime(l.until)}}
}

// notHeld refuses while somebody else is at a task.
func (a *act) notHeld(ctx context.Context, task uuid.UUID) error {
	l, err := a.liveLease(ctx, task)
	if err == nil && l.staff != uuid.Nil && l.staff != a.actor.staff {
		return l.held()
	}
	return err
}

// ClaimTask takes the lease on a task, or renews one's own.
//
// Errors: Conflict with who holds it, Refused when it is closed, assigned to somebody else, or being answered.
func (s *Store) ClaimTask(ctx context.Context, actor Actor, id uuid.UUID) (LeaseView, error) {
	var out LeaseView
	err := s.act(ctx, actor, "ClaimTask", policy.ForCase, func(ctx context.Context, a *act) error {
		t, err := a.readTask(ctx, id, true)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Decide, policy.Case, t.record()); err != nil {
			return err
		}
		if err := a.mayAnswer(t); err != nil {
			return err
		}
		if t.Status != "open" {
			return refused("task_closed", "Status", t.Status)
		}
		if t.Assignee != uuid.Nil && t.Assignee != actor.staff {
			return refused("task_assigned")
		}
		var answering bool
		if err := a.QueryRow(ctx, `SELECT EXISTS (SELECT FROM answers WHERE task_id = $1 AND status = 'pending' AND staff_id <> $2)`, id, actor.staff).Scan(&answering); err != nil {
			return err
		}
		if answering {
			return refused("task_being_answered")
		}
		out, err = a.lease(ctx, t, actor)
		return err
	})
	return out, err
}

// lease writes the lease, unless somebody else's lives.
func (a *act) lease(ctx context.Context, t taskRow, to Actor) (LeaseView, error) {
	now := a.now().UTC().Truncate(time.Microsecond)
	if before, err := a.liveLease(ctx, t.ID); err != nil {
		return LeaseView{}, err
	} else if before.staff != to.staff { // a renewal is no news
		a.moved()
	}
	until := now.Add(time.Duration(a.rules(t.Region).Count(rules.DeskLease)) * time.Minute)
	tag, err := a.Exec(ctx, `
		INSERT INTO task_leases AS l (task_id, staff_id, organisation_id, since, until) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (task_id) DO UPDATE SET staff_id = excluded.staff_id, organisation_id = excluded.organisation_id, until = excluded.until,
			since = CASE WHEN l.staff_id = excluded.staff_id AND l.until > $4 THEN l.since ELSE $4 END
		WHERE l.staff_id = excluded.staff_id OR l.until <= $4`, t.ID, to.staff, to.organisation, now, until)
	if err != nil {
		return LeaseView{}, err
	}
	if tag.RowsAffected() == 0 {
		l, err := a.liveLease(ctx, t.ID)
		if err == nil {
			err = l.held()
		}
		return LeaseView{}, err
	}
	return LeaseView{Mine: to.staff == a.actor.staff, Holder: &Coworker{to.staff, to.Name, to.staff == a.actor.staff}, Until: until}, nil
}

// ReleaseTask gives one's lease back. Giving back what one does not have changes nothing.
func (s *Store) ReleaseTask(ctx context.Context, actor Actor, id uuid.UUID) error {
	return s.act(ctx, actor, "ReleaseTask", policy.ForCase, func(ctx context.Context, a *act) error {
		t, err := a.readTask(ctx, id, true)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Decide, policy.Case, t.record()); err != nil {
			return err
		}
		if err := a.mayAnswer(t); err != nil {
			return err
		}
		tag, err := a.Exec(ctx, `DELETE FROM task_leases WHERE task_id = $1 AND staff_id = $2`, id, actor.staff)
		if err == nil && tag.RowsAffected() > 0 {
			a.moved()
		}
		return err
	})
}

// TakeOverTask ends the lease of whoever is at a task. It goes to the colleague who is named, else to the supervisor where they may answer
// it themselves, else it is free again. It is a supervisor's to do, and both hear of it.
func (s *Store) TakeOverTask(ctx context.Context, actor Actor, id uuid.UUID, f LeaseForm) (TaskView, error) {
	var out TaskView
	err := s.act(ctx, actor, "TakeOverTask", policy.ForAdministration, func(ctx context.Context, a *act) error {
		t, err := a.readTask(ctx, id, true)
		if err != nil {
			return err
		}
		if err := a.permitSupervision(t); err != nil {
			return err
		}
		a.entries[len(a.entries)-1].Reason = f.Reason
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		before, err := a.liveLease(ctx, id)
		switch {
		case err != nil:
			return err
		case t.Status != "open":
			return refused("task_closed", "Status", t.Status)
		case before.staff == uuid.Nil:
			return refused("task_free")
		case before.staff == actor.staff && f.To == uuid.Nil:
			return refused("task_own_lease")
		}
		if _, err := a.Exec(ctx, `DELETE FROM task_leases WHERE task_id = $1`, id); err != nil {
			return err
		}
		a.moved()
		switch {
		case f.To != uuid.Nil:
			t, err = a.assign(ctx, t, f.To)
		case a.mayAnswer(t) == nil:
			_, err = a.lease(ctx, t, actor)
		}
		if err != nil {
			return err
		}
		a.event(Event{Code: "task.taken_over", CaseID: t.CaseID, Args: map[string]any{"Step": t.Step, "Reason": f.Reason}})
		if before.staff != actor.staff {
			a.tell(notice{code: "task.taken_over", args: map[string]any{"Step": t.Step, "Case": t.CaseNumber, "Reason": f.Reason}, staff: before.staff, region: t.Region, caseID: t.CaseID, taskID: t.ID,
				dedupe: "task.taken_over/" + t.ID.String() + "/" + before.until.UTC().Format(time.RFC3339Nano)})
		}
		out = a.taskView(t, actor.Locale)
		return nil
	})
	return out, err
}

// AssignTask gives a task to a colleague who may answer it, or takes it back. Whoever may answer it may, and its supervisor; not while
// somebody else is at it.
func (s *Store) AssignTask(ctx context.Context, actor Actor, id uuid.UUID, version int64, f AssignForm) (TaskView, error) {
	var out TaskView
	err := s.act(ctx, actor, "AssignTask", policy.ForCase, func(ctx context.Context, a *act) error {
		t, err := a.readTask(ctx, id, true)
		if err != nil {
			return err
		}
		if err := a.permitWork(t); err != nil {
			return err
		}
		switch {
		case version != 0 && version != t.Version:
			return stale("task")
		case t.Status != "open":
			return refused("task_closed", "Status", t.Status)
		}
		if l, err := a.liveLease(ctx, id); err != nil {
			return err
		} else if l.staff != uuid.Nil && l.staff != actor.staff && l.staff != f.Staff {
			return l.held()
		}
		if t, err = a.assign(ctx, t, f.Staff); err != nil {
			return err
		}
		out = a.taskView(t, actor.Locale)
		return nil
	})
	return out, err
}

// AssignTasks gives many tasks to a colleague, each by itself: what became of each is told.
func (s *Store) AssignTasks(ctx context.Context, actor Actor, f AssignManyForm) ([]Assigned, error) {
	if problems := forms.Check(f); len(problems) > 0 {
		return nil, invalid(problems)
	}
	out := make([]Assigned, 0, len(f.Tasks))
	for _, id := range f.Tasks {
		_, err := s.AssignTask(ctx, actor, id, 0, AssignForm{f.Staff})
		var own *Error
		switch {
		case err == nil:
			out = append(out, Assigned{Task: id, Done: true})
		case errors.As(err, &own) && own.Kind != Unavailable && own.Kind != Unsigned:
			out = append(out, Assigned{Task: id, Code: own.Code, Text: actor.Locale.Say("error."+own.Code, own.Args)})
		default:
			return out, err
		}
	}
	return out, nil
}

// assign writes whose a task is, and tells them.
func (a *act) assign(ctx context.Context, t taskRow, to uuid.UUID) (taskRow, error) {
	if to == t.Assignee {
		return t, nil
	}
	if to != uuid.Nil {
		who, err := a.colleague(ctx, to)
		if err != nil {
			return t, err
		}
		if err := a.couldAnswer(ctx, t, who); err != nil {
			return t, err
		}
	}
	// Whoever assigns a task lets go of it, unless it is their own.
	_, err := a.Exec(ctx, `
		WITH gone AS (DELETE FROM task_leases WHERE task_id = $1 AND staff_id IS DISTINCT FROM $2)
		UPDATE tasks SET assignee_id = $2, version = version + 1 WHERE id = $1`, t.ID, null(to))
	if err != nil {
		return t, err
	}
	t.Assignee, t.Version = to, t.Version+1
	a.moved()
	if to != uuid.Nil && to != a.actor.staff {
		a.tell(notice{code: "task.assigned", args: map[string]any{"Step": t.Step, "Case": t.CaseNumber}, staff: to, region: t.Region, caseID: t.CaseID, taskID: t.ID,
			dedupe: "task.assigned/" + t.ID.String() + "/" + to.String() + "/" + a.at.Format(time.RFC3339Nano)})
	}
	return t, nil
}

// colleague recognises another member of staff within an act, to ask what they might do.
func (a *act) colleague(ctx context.Context, staff uuid.UUID) (Actor, error) {
	var who Actor
	var region string
	err := a.QueryRow(ctx, `SELECT s.id, s.display_name, o.id, o.region FROM staff s JOIN organisations o ON o.id = s.organisation_id WHERE s.id = $1 AND s.active AND o.active`, staff).
		Scan(&who.staff, &who.Name, &who.organisation, &region)
	if errors.Is(err, pgx.ErrNoRows) {
		return who, missing("staff")
	}
	who.subject, who.region = staffSubject(who.staff), identity.Region(region)
	return who, err
}

// couldAnswer tells whether somebody might answer a task by what they are, and not because it was given to them.
func (a *act) couldAnswer(ctx context.Context, t taskRow, who Actor) error {
	theirs := *a
	theirs.actor, theirs.purpose = who, policy.ForCase
	if theirs.mayAnswer(withoutAssignee(t)) != nil {
		return refused("colleague_cannot")
	}
	return theirs.oneDuty(ctx, t)
}

// Colleagues lists who could answer a task, for whoever assigns it: by name.
func (r *Reader) Colleagues(ctx context.Context, actor Actor, task uuid.UUID) ([]Coworker, error) {
	var out []Coworker
	err := r.act(ctx, actor, "Colleagues", policy.ForCase, func(ctx context.Context, a *act) error {
		t, err := a.readTask(ctx, task, false)
		if err != nil {
			return err
		}
		if err := a.permitWork(t); err != nil {
			return err
		}
		out, err = a.colleaguesFor(ctx, t)
		return err
	})
	return out, err
}

// colleagues are who may do a kind of task, by one revision of the grants: where somebody works, as what and under what name is in it.
type colleagues struct {
	sync.Mutex
	by *policy.Policy
	of map[doers][]Coworker
}

// doers is all that decides who may do a task that nobody in particular was given.
type doers struct {
	role         policy.Role
	organisation uuid.UUID
	region       identity.Region
}

func (a *act) colleaguesFor(ctx context.Context, t taskRow) ([]Coworker, error) {
	kept, kind := &a.Reader.colleagues, doers{t.Role, t.Organisation, t.Region}
	kept.Lock()
	if kept.by != a.policy {
		kept.by, kept.of = a.policy, map[doers][]Coworker{}
	}
	people, known := kept.of[kind]
	kept.Unlock()
	if !known {
		var err error
		if people, err = a.readColleagues(ctx, withoutAssignee(t)); err != nil {
			return nil, err
		}
		kept.Lock()
		if kept.by == a.policy {
			kept.of[kind] = people
		}
		kept.Unlock()
	}
	out := slices.Clone(people)
	for i := range out {
		out[i].Me = out[i].Staff == a.actor.staff
	}
	return out, nil
}

func (a *act) readColleagues(ctx context.Context, t taskRow) ([]Coworker, error) {
	rows, err := a.Query(ctx, `
		SELECT DISTINCT s.id, s.display_name, o.id, o.region FROM role_grants g JOIN staff s ON s.id = g.staff_id JOIN organisations o ON o.id = s.organisation_id
		WHERE g.role = $1 AND g.revoked_at IS NULL AND g.until > $2 AND s.active AND s.kind = 'person' AND o.active AND ($3::uuid IS NULL OR o.id = $3) AND ($3::uuid IS NOT NULL OR g.region = ANY($4))
		ORDER BY s.display_name, s.id LIMIT 500`, string(t.Role), a.now(), null(t.Organisation), regionPath(t.Region))
	if err != nil {
		return nil, err
	}
	people, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (who Actor, err error) {
		err = row.Scan(&who.staff, &who.Name, &who.organisation, &who.region)
		who.subject = staffSubject(who.staff)
		return who, err
	})
	if err != nil {
		return nil, err
	}
	var out []Coworker
	for _, who := range people {
		theirs := *a
		theirs.actor, theirs.purpose = who, policy.ForCase
		if theirs.mayAnswer(t) == nil {
			out = append(out, Coworker{Staff: who.staff, Name: who.Name})
		}
	}
	return out, nil
}

func withoutAssignee(t taskRow) taskRow {
	t.Assignee = uuid.Nil
	return t
}
