package registry

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// Notices leave the house in two movements. First a notice is spread: whoever should hear of it by the grants of that moment gets a
// delivery for each channel that they chose, and each webhook that wants it one of its own; the database takes one for each. Then
// deliveries that are due are taken, by any number of processes, each row by one of them at a time, and settled. When a delivery is
// taken it is asked once more whether its reader still should hear of it, so that whoever has left, or lost the role, gets nothing.
//
// What leaves says no more than that there is something to read, and where: a sentence of codes, the number of a case, a link.

// ByWebhook is how a notice reaches another system: as an event of ids and codes, without words.
const ByWebhook Channel = "webhook"

// The states of a delivery.
const (
	stateGathered  = "gathered"
	stateWaiting   = "waiting"
	stateDelivered = "delivered"
	stateDead      = "dead"
	stateDropped   = "dropped"
)

// Parcel is a delivery that is due, with all that its carrier needs.
type Parcel struct {
	ID      uuid.UUID
	Kind    string // notice, digest, code or ping
	Channel Channel
	Attempt int
	Urgent  bool
	Locale  lang.Locale
	Mail    seal.Email // where to, by the channel
	Phone   seal.Phone
	URL     string      // of a webhook
	Secret  seal.Number // that the webhook's bodies are signed with
	Code    seal.Number // of a contact point that is being verified
	Items   []ParcelItem
}

// ParcelItem is one notice of a parcel.
type ParcelItem struct {
	Notice uuid.UUID
	Code   string
	At     time.Time
	Urgent bool
	Text   string // in the reader's language; for a webhook there is none
	CaseID uuid.UUID
	TaskID uuid.UUID
}

// Outcome is what became of an attempt. Code is for whoever looks after deliveries; it repeats nothing that was sent.
type Outcome struct {
	Arrived   bool
	Code      string
	Permanent bool
	Gone      bool
	After     time.Duration
}

func deliveriesRecord() record { return record{kind: "delivery", id: "due", region: nation} }

// outgoing is a notice on its way out.
type outgoing struct {
	ID           uuid.UUID
	Code         string
	Organisation *uuid.UUID
	Role         string
	Region       identity.Region
	Staff        *uuid.UUID
	Task         *uuid.UUID
	Urgent       bool
}

// SpreadNotices makes the deliveries of notices that nobody was told of yet, at most so many, and tells how many notices it took. Any
// number of processes may do it at once: each notice is one's.
func (s *Store) SpreadNotices(ctx context.Context, actor Actor, most int) (int, error) {
	if err := actor.isSystem(); err != nil {
		return 0, err
	}
	var waits bool
	err := s.internally(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM notices WHERE spread_at IS NULL)`).Scan(&waits)
	})
	if err != nil || !waits {
		return 0, err
	}
	took := 0
	err = s.act(ctx, actor, "SpreadNotices", policy.ForCase, func(ctx context.Context, a *act) error {
		rows, err := a.Query(ctx, `
			UPDATE notices SET spread_at = $2 WHERE id IN (SELECT id FROM notices WHERE spread_at IS NULL ORDER BY created_at, id LIMIT $1 FOR UPDATE SKIP LOCKED)
			RETURNING id, code, organisation_id, role, region, staff_id, task_id, urgent`, most, a.at)
		if err != nil {
			return err
		}
		list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[outgoing])
		if err != nil {
			return err
		}
		took = len(list)
		if err := a.permitShown(policy.Write, policy.Notice, deliveriesRecord(), took); err != nil {
			return err
		}
		for _, n := range list {
			if err := a.spreadNotice(ctx, n); err != nil {
				return err
			}
		}
		return nil
	})
	return took, err
}

func (a *act) spreadNotice(ctx context.Context, n outgoing) error {
	list, err := a.addressees(ctx, n, uuid.Nil)
	if err != nil {
		return err
	}
	add := func(channel Channel, staff, webhook uuid.UUID, state string, at time.Time) {
		a.writes.Queue(`
			INSERT INTO deliveries (id, kind, channel, code, notice_id, staff_id, webhook_id, urgent, state, next_at, created_at) VALUES ($1, 'notice', $2, $3, $4, $5, $6, $7, $8, $9, $10)
			ON CONFLICT DO NOTHING`, newID(), string(channel), n.Code, n.ID, null(staff), null(webhook), n.Urgent, state, at, a.at)
	}
	for _, h := range list {
		switch {
		case h.Channel == ByEmail && n.Urgent && h.Mail != "off":
			add(ByEmail, h.Staff, uuid.Nil, stateWaiting, h.quiet(a).after(a.at))
		case h.Channel == ByEmail && !n.Urgent && h.Mail == "digest":
			add(ByEmail, h.Staff, uuid.Nil, stateGathered, a.at)
		case h.Channel == ByText && n.Urgent && h.SMS == "urgent":
			add(ByText, h.Staff, uuid.Nil, stateWaiting, a.at) // what is urgent passes the quiet hours
		}
	}
	if n.Staff != nil {
		return nil // what is to one person is no other system's
	}
	// A Red Cross office hears of its region, everybody else of what is addressed to them.
	rows, err := a.Query(ctx, `
		SELECT w.id FROM webhooks w JOIN organisations o ON o.id = w.organisation_id
		WHERE w.disabled_at IS NULL AND o.active AND (w.codes @> ARRAY[$1] OR w.codes @> ARRAY['*'])
			AND (w.organisation_id = $2 OR $2 IS NULL AND o.kind = 'red_cross' AND o.region = ANY($3))`, n.Code, n.Organisation, regionPath(n.Region))
	if err != nil {
		return err
	}
	hooks, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	for _, id := range hooks {
		add(ByWebhook, uuid.Nil, id, stateWaiting, a.at)
	}
	return err
}

// addressee is somebody who should hear of a notice on a channel of theirs.
type addressee struct {
	Staff           uuid.UUID
	Office          uuid.UUID
	Region          identity.Region
	Locale          lang.Locale
	Channel         Channel
	Mail, SMS       string
	From, Until     *int16
	Address         []byte
	ContactPoint    uuid.UUID
	CarriedByOthers bool
}

// addressees finds who should hear of a notice now: the person whom it names; else whoever works at its organisation and has its
// role; else whoever has the role in its region. What is about a task that somebody took is that person's, until it escalates. Only
// people who work here, whom the policy lets read notices there, at contact points that they have verified. one narrows it to one
// person.
func (a *act) addressees(ctx context.Context, n outgoing, one uuid.UUID) ([]addressee, error) {
	rows, err := a.Query(ctx, `
		SELECT s.id, s.organisation_id, o.region, s.locale, c.channel, coalesce(p.mail, 'digest'), coalesce(p.sms, 'urgent'), p.quiet_from, p.quiet_until, c.address_sealed, c.id,
			EXISTS (SELECT FROM tasks t WHERE t.id = $6 AND t.assignee_id <> s.id) AND $7 <> 'task.escalated'
		FROM staff s JOIN organisations o ON o.id = s.organisation_id JOIN contact_points c ON c.staff_id = s.id AND c.verified_at IS NOT NULL
			LEFT JOIN notice_preferences p ON p.staff_id = s.id
		WHERE s.active AND o.active AND s.kind = 'person' AND ($1::uuid IS NULL OR s.id = $1) AND ($8::uuid IS NULL OR s.id = $8)
			AND ($1 IS NOT NULL OR ($2::uuid IS NULL OR s.organisation_id = $2) AND EXISTS (
				SELECT FROM role_grants g WHERE g.staff_id = s.id AND g.revoked_at IS NULL AND g.until > $5 AND ($3 = '' OR g.role = $3)
					AND ($2 IS NOT NULL OR g.region = ANY($4))))`,
		n.Staff, n.Organisation, n.Role, regionPath(n.Region), a.at, n.Task, n.Code, null(one))
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[addressee])
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(h addressee) bool {
		if h.CarriedByOthers {
			return true
		}
		if n.Staff != nil {
			return false
		}
		subject := staffSubject(h.Staff)
		m := a.policy.Mask(subject, regionPath(n.Region), policy.InRegion, policy.ForCase)
		if n.Organisation != nil && *n.Organisation == h.Office {
			m = m.Union(a.policy.Mask(subject, regionPath(h.Region), policy.Site, policy.ForCase))
		}
		return !m.May(policy.Read, policy.Notice)
	}), nil
}

// quietHours are the minutes of the day between which somebody is not disturbed; from after until goes over midnight, and from as
// until is never.
type quietHours struct{ from, until int }

func (h addressee) quiet(a *act) quietHours {
	if h.From != nil && h.Until != nil {
		return quietHours{int(*h.From), int(*h.Until)}
	}
	r := a.rules(h.Region)
	return quietHours{int(r.Amount(rules.NoticeQuietFrom)), int(r.Amount(rules.NoticeQuietUntil))}
}

// after is the first instant from at on that is not quiet. The first minute of the quiet hours is quiet, the minute at which they
// end is not.
func (q quietHours) after(at time.Time) time.Time {
	local := at.In(Zone)
	minute := local.Hour()*60 + local.Minute()
	day := calendar.Of(at, Zone).Start(Zone)
	end := day.Add(time.Duration(q.until) * time.Minute)
	switch {
	case q.from == q.until:
		return at
	case q.from < q.until && minute >= q.from && minute < q.until:
		return end
	case q.from > q.until && minute < q.until:
		return end
	case q.from > q.until && minute >= q.from:
		return end.AddDate(0, 0, 1)
	}
	return at
}

// MakeDigests gives everybody who has gathered notices the day's digest, once it is time for it, and tells how many it made. Nobody
// gets a second one on a day: the database takes one for each person and day, and none while an earlier one has not left.
func (s *Store) MakeDigests(ctx context.Context, actor Actor) (int, error) {
	if err := actor.isSystem(); err != nil {
		return 0, err
	}
	now := s.now().UTC()
	local := now.In(Zone)
	if local.Hour()*60+local.Minute() < int(s.book.For(nation, calendar.Of(now, Zone)).Amount(rules.NoticeDigest)) {
		return 0, nil
	}
	var waits bool
	const due = `FROM deliveries g WHERE g.state = 'gathered' AND g.digest_id IS NULL
		AND NOT EXISTS (SELECT FROM deliveries d WHERE d.kind = 'digest' AND d.staff_id = g.staff_id AND (d.state = 'waiting' OR d.digest_on = $1))`
	today := calendar.Of(now, Zone)
	err := s.internally(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT EXISTS (SELECT `+due+`)`, today).Scan(&waits)
	})
	if err != nil || !waits {
		return 0, err
	}
	made := 0
	err = s.act(ctx, actor, "MakeDigests", policy.ForCase, func(ctx context.Context, a *act) error {
		tag, err := a.Exec(ctx, `
			INSERT INTO deliveries (id, kind, channel, code, staff_id, urgent, state, next_at, digest_on, created_at)
			SELECT uuid_v7(), 'digest', 'email', 'digest', staff_id, false, 'waiting', $2, $1, $2 FROM (SELECT DISTINCT g.staff_id `+due+`) someone ON CONFLICT DO NOTHING`, today, a.at)
		if err != nil {
			return err
		}
		made = int(tag.RowsAffected())
		return a.permitShown(policy.Write, policy.Notice, deliveriesRecord(), made)
	})
	return made, err
}

// taken is a delivery that this process has for as long as the lease lasts.
type taken struct {
	ID      uuid.UUID
	Kind    string
	Channel Channel
	Code    string
	Notice  *uuid.UUID
	Staff   *uuid.UUID
	Webhook *uuid.UUID
	Urgent  bool
	Attempt int
	Created time.Time
}

// TakeDeliveries leases up to most deliveries that are due on some channels to this caller alone, and opens what their carrier needs.
// Those that nobody should get any more are dropped on the way, and those that came into somebody's quiet hours wait. A delivery that
// is not settled before the lease ends is given out again: a process that dies loses nothing, and what it had sent without saying so
// is sent a second time, under the same name.
func (s *Store) TakeDeliveries(ctx context.Context, actor Actor, channels []Channel, most int, lease time.Duration) ([]Parcel, error) {
	if err := actor.isSystem(); err != nil {
		return nil, err
	}
	var waits bool
	names := make([]string, len(channels))
	for i, c := range channels {
		names[i] = string(c)
	}
	const due = `SELECT d.id FROM deliveries d LEFT JOIN webhooks w ON w.id = d.webhook_id WHERE d.state = 'waiting' AND d.next_at <= $1 AND d.channel = ANY($2) AND w.disabled_at IS NULL`
	err := s.internally(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT EXISTS (`+due+`)`, s.now().UTC(), names).Scan(&waits)
	})
	if err != nil || !waits {
		return nil, err
	}
	var out []Parcel
	err = s.act(ctx, actor, "TakeDeliveries", policy.ForCase, func(ctx context.Context, a *act) error {
		out = nil
		rows, err := a.Query(ctx, `
			UPDATE deliveries SET attempts = attempts + 1, next_at = $4, digest_on = CASE WHEN kind = 'digest' THEN $5::date END
			WHERE id IN (`+due+` ORDER BY d.next_at, d.id LIMIT $3 FOR UPDATE OF d SKIP LOCKED)
			RETURNING id, kind, channel, code, notice_id, staff_id, webhook_id, urgent, attempts, created_at`, a.at, names, most, a.at.Add(lease), a.today())
		if err != nil {
			return err
		}
		list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[taken])
		if err != nil {
			return err
		}
		for _, t := range list {
			p, ok, err := a.parcel(ctx, t)
			if err != nil {
				return err
			}
			if ok {
				out = append(out, p)
			}
		}
		return a.permitShown(policy.Write, policy.Notice, deliveriesRecord(), len(list))
	})
	return out, err
}

// drop ends a delivery that nobody should get.
func (a *act) drop(id uuid.UUID, why string) {
	a.writes.Queue(`UPDATE deliveries SET state = 'dropped', outcome = $2, done_at = $3, attempts = attempts - 1 WHERE id = $1`, id, why, a.at)
	a.writes.Queue(`UPDATE deliveries SET state = 'dropped', outcome = $2, done_at = $3 WHERE digest_id = $1 AND state = 'gathered'`, id, why, a.at)
}

func (a *act) parcel(ctx context.Context, t taken) (Parcel, bool, error) {
	p := Parcel{ID: t.ID, Kind: t.Kind, Channel: t.Channel, Attempt: t.Attempt, Urgent: t.Urgent, Locale: lang.Chinese}
	stale := a.rules(nation).Span(rules.NoticeStale)
	if t.Kind == "notice" && t.Created.Add(time.Duration(stale.Hours())*time.Hour).Before(a.at) {
		a.drop(t.ID, "stale")
		return p, false, nil
	}
	switch {
	case t.Webhook != nil:
		return a.hookParcel(ctx, p, t)
	case t.Kind == "code":
		return a.codeParcel(ctx, p, t)
	case t.Kind == "digest":
		return a.digestParcel(ctx, p, t)
	}
	n, item, read, err := a.noticeItem(ctx, *t.Notice)
	if err != nil {
		return p, false, err
	}
	if read {
		a.drop(t.ID, "read")
		return p, false, nil
	}
	h, ok, err := a.addressee(ctx, n, *t.Staff, t.Channel)
	if err != nil {
		return p, false, err
	}
	if !ok {
		a.drop(t.ID, "left")
		return p, false, nil
	}
	if at := h.quiet(a).after(a.at); at.After(a.at) && t.Channel != ByText {
		a.writes.Queue(`UPDATE deliveries SET next_at = $2, attempts = attempts - 1 WHERE id = $1`, t.ID, at)
		return p, false, nil
	}
	if err := a.wordOutside(ctx, &item, t.Channel, h.Locale); err != nil {
		return p, false, err
	}
	p.Items = []ParcelItem{item.ParcelItem}
	return p, true, a.address(&p, h)
}

// addressee is one person on one channel, if they should still hear of a notice.
func (a *act) addressee(ctx context.Context, n outgoing, staff uuid.UUID, channel Channel) (addressee, bool, error) {
	all, err := a.addressees(ctx, n, staff)
	for _, h := range all {
		if h.Channel == channel {
			return h, true, err
		}
	}
	return addressee{}, false, err
}

// address opens where somebody is reached.
func (a *act) address(p *Parcel, h addressee) error {
	p.Locale = h.Locale
	text, err := a.keys.OpenBytes(cell("contact_points", "address", h.ContactPoint), h.Address)
	if err != nil {
		return err
	}
	if h.Channel == ByEmail {
		p.Mail = seal.EmailOf(string(text))
	} else {
		p.Phone = seal.PhoneOf(string(text))
	}
	return nil
}

// wordedItem is an item with what its sentence is said with.
type wordedItem struct {
	ParcelItem
	region identity.Region
	args   map[string]any
}

// wordOutside puts an item into the words that leave the house on a channel.
func (a *act) wordOutside(ctx context.Context, i *wordedItem, channel Channel, l lang.Locale) error {
	own, err := readWordings(ctx, a.Tx, channel, l, regionPath(i.region))
	i.Text = own.say(l, channel, i.region, i.Code, i.args)
	return err
}

const itemColumns = `SELECT n.id, n.code, n.organisation_id, n.role, n.region, n.staff_id, n.task_id, n.urgent, n.args, n.at, n.case_id, n.read_at IS NOT NULL FROM notices n `

func scanItem(row pgx.CollectableRow) (n outgoing, item wordedItem, read bool, err error) {
	var caseID *uuid.UUID
	err = row.Scan(&n.ID, &n.Code, &n.Organisation, &n.Role, &n.Region, &n.Staff, &n.Task, &n.Urgent, &item.args, &item.At, &caseID, &read)
	item.Notice, item.Code, item.Urgent, item.region = n.ID, n.Code, n.Urgent, n.Region
	if caseID != nil {
		item.CaseID = *caseID
	}
	if n.Task != nil {
		item.TaskID = *n.Task
	}
	return n, item, read, err
}

func (a *act) noticeItem(ctx context.Context, id uuid.UUID) (n outgoing, item wordedItem, read bool, err error) {
	rows, err := a.Query(ctx, itemColumns+`WHERE n.id = $1`, id)
	if err != nil {
		return n, item, false, err
	}
	_, err = pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (struct{}, error) {
		var err error
		n, item, read, err = scanItem(row)
		return struct{}{}, err
	})
	return n, item, read, err
}

// digestParcel puts together what somebody has gathered, less what was read meanwhile and what is not theirs any more. What is
// gathered after the first attempt waits for the next day's: a digest that is sent again says the same.
func (a *act) digestParcel(ctx context.Context, p Parcel, t taken) (Parcel, bool, error) {
	if t.Attempt == 1 {
		if _, err := a.Exec(ctx, `UPDATE deliveries SET digest_id = $1 WHERE staff_id = $2 AND state = 'gathered' AND digest_id IS NULL`, t.ID, *t.Staff); err != nil {
			return p, false, err
		}
	}
	rows, err := a.Query(ctx, itemColumns+`JOIN deliveries d ON d.notice_id = n.id WHERE d.digest_id = $1 AND d.state = 'gathered' ORDER BY n.at, n.id`, t.ID)
	if err != nil {
		return p, false, err
	}
	type gathered struct {
		n    outgoing
		item wordedItem
		read bool
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (g gathered, err error) {
		g.n, g.item, g.read, err = scanItem(row)
		return g, err
	})
	if err != nil {
		return p, false, err
	}
	var to addressee
	for _, g := range all {
		if g.read {
			continue
		}
		h, ok, err := a.addressee(ctx, g.n, *t.Staff, ByEmail)
		if err != nil {
			return p, false, err
		}
		if !ok || h.Mail != "digest" {
			continue
		}
		to = h
		if err := a.wordOutside(ctx, &g.item, ByEmail, h.Locale); err != nil {
			return p, false, err
		}
		p.Items = append(p.Items, g.item.ParcelItem)
	}
	if len(p.Items) == 0 {
		a.drop(t.ID, "nothing_left")
		return p, false, nil
	}
	if at := to.quiet(a).after(a.at); at.After(a.at) {
		a.writes.Queue(`UPDATE deliveries SET next_at = $2, attempts = attempts - 1, digest_on = $3 WHERE id = $1`, t.ID, at, calendar.Of(at, Zone))
		return p, false, nil
	}
	return p, true, a.address(&p, to)
}

// SettleDelivery writes down what became of a parcel, unless somebody else has taken it since.
func (s *Store) SettleDelivery(ctx context.Context, actor Actor, p Parcel, o Outcome) error {
	return s.act(ctx, actor, "SettleDelivery", policy.ForCase, func(ctx context.Context, a *act) error {
		if err := a.permit(policy.Write, policy.Notice, record{kind: "delivery", id: p.ID.String(), region: nation}); err != nil {
			return err
		}
		state, next := stateWaiting, a.at
		switch {
		case o.Arrived:
			state, o.Code = stateDelivered, ""
		case o.Permanent || p.Attempt >= a.rules(nation).Count(rules.NoticeAttempts):
			state = stateDead
		default:
			next = a.at.Add(max(pauseAfter(p.Attempt), o.After))
		}
		var webhook *uuid.UUID
		err := a.QueryRow(ctx, `
			UPDATE deliveries SET state = $3, outcome = $4, next_at = $5, done_at = CASE WHEN $3 = 'waiting' THEN NULL ELSE $6::timestamptz END
			WHERE id = $1 AND attempts = $2 AND state = 'waiting' RETURNING webhook_id`, p.ID, p.Attempt, state, o.Code, next, a.at).Scan(&webhook)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if p.Kind == "digest" && state != stateWaiting {
			if _, err := a.Exec(ctx, `UPDATE deliveries SET state = $2, outcome = $3, done_at = $4 WHERE digest_id = $1 AND state = 'gathered'`, p.ID, state, o.Code, a.at); err != nil {
				return err
			}
		}
		if o.Gone && webhook != nil {
			_, err = a.Exec(ctx, `UPDATE webhooks SET disabled_at = $2, disabled_for = 'gone', version = version + 1 WHERE id = $1 AND disabled_at IS NULL`, *webhook, a.at)
		}
		return err
	})
}

// pauseAfter is how long to wait after an attempt: a minute, then four times as long each time, up to six hours.
func pauseAfter(attempt int) time.Duration {
	pause := time.Minute
	for range min(attempt, 10) - 1 {
		pause *= 4
	}
	return min(pause, 6*time.Hour)
}

// DeliveryView is a delivery as those see it who look after them: to whom, on which channel, and what became of it. What it said, and
// where it went, is not in it.
type DeliveryView struct {
	ID       uuid.UUID  `json:"id" class:"staff" mask:"drop"`
	Kind     string     `json:"kind" doc:"notice, digest, code (to verify where somebody is reached) or ping (of a webhook)" class:"staff" mask:"drop"`
	Channel  Channel    `json:"channel" doc:"email, message or webhook" class:"staff" mask:"drop"`
	Code     string     `json:"code" doc:"Of the notice." class:"staff" mask:"drop"`
	Staff    *uuid.UUID `json:"staff,omitempty" class:"staff" mask:"drop"`
	Login    string     `json:"login,omitempty" class:"staff" mask:"drop"`
	Webhook  *uuid.UUID `json:"webhook,omitempty" class:"staff" mask:"drop"`
	Name     string     `json:"name,omitempty" doc:"Of the webhook." class:"staff" mask:"drop"`
	Urgent   bool       `json:"urgent" class:"staff" mask:"drop"`
	State    string     `json:"state" doc:"gathered (for a digest), waiting, delivered, dead (tried too often, or refused for good) or dropped (nobody should get it any more)" class:"staff" mask:"drop"`
	Outcome  string     `json:"outcome,omitempty" doc:"Of the last attempt: a code such as smtp_550." class:"staff" mask:"drop"`
	Attempts int        `json:"attempts" class:"staff" mask:"drop"`
	Next     *time.Time `json:"next,omitempty" doc:"When it is tried next." class:"staff" mask:"drop"`
	Created  time.Time  `json:"created" class:"staff" mask:"drop"`
	Done     *time.Time `json:"done,omitempty" class:"staff" mask:"drop"`
}

// DeliveryFilter narrows a list of deliveries.
type DeliveryFilter struct {
	State, Channel string
	Webhook        uuid.UUID
	Before         time.Time
	BeforeID       uuid.UUID
	Limit          int
}

const deliveryColumns = `
	SELECT d.id, d.kind, d.channel, d.code, d.staff_id, coalesce(s.login, ''), d.webhook_id, coalesce(w.name, ''), d.urgent, d.state, d.outcome, d.attempts,
		CASE WHEN d.state = 'waiting' THEN d.next_at END, d.created_at, d.done_at
	FROM deliveries d LEFT JOIN staff s ON s.id = d.staff_id LEFT JOIN webhooks w ON w.id = d.webhook_id JOIN organisations o ON o.id = coalesce(s.organisation_id, w.organisation_id) `

// ListDeliveries returns the deliveries to staff and webhooks in the regions that the actor administers, the newest first.
func (r *Reader) ListDeliveries(ctx context.Context, actor Actor, f DeliveryFilter) ([]DeliveryView, error) {
	var out []DeliveryView
	err := r.act(ctx, actor, "ListDeliveries", policy.ForAdministration, func(ctx context.Context, a *act) error {
		within := a.reachOf(policy.Write, policy.Staff)
		if f.Before.IsZero() {
			f.Before, f.BeforeID = a.now().Add(time.Hour), uuid.Max
		}
		rows, err := a.Query(ctx, deliveryColumns+`
			WHERE (d.created_at, d.id) < ($1, $2) AND ($3 = '' OR d.state = $3) AND ($4 = '' OR d.channel = $4) AND ($5::uuid IS NULL OR d.webhook_id = $5)
				AND EXISTS (SELECT FROM unnest($6::text[], $7::text[]) r(lo, hi) WHERE o.region >= lo AND o.region < hi)
			ORDER BY d.created_at DESC, d.id DESC LIMIT $8`, f.Before, f.BeforeID, f.State, f.Channel, null(f.Webhook), within.lo, within.hi, pageSize(f.Limit))
		if err != nil {
			return err
		}
		if out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[DeliveryView]); err != nil {
			return err
		}
		return a.permitMany(policy.Write, policy.Staff, within, "deliveries", idsOf(out, func(v DeliveryView) uuid.UUID { return v.ID }), a.narrowed("state", f.State), a.narrowed("channel", f.Channel), a.narrowed("webhook", textOf(f.Webhook)))
	})
	return out, err
}

// ReplayDelivery has a delivery tried again that is dead or, of a webhook, that arrived: under the same name. What a dead digest had
// gathered goes into the next one, so that nobody gets two on a day.
//
// Errors: Refused for one that is still on its way, and for a code, which its owner asks for anew.
func (s *Store) ReplayDelivery(ctx context.Context, actor Actor, id uuid.UUID) (DeliveryView, error) {
	var out DeliveryView
	err := s.act(ctx, actor, "ReplayDelivery", policy.ForAdministration, func(ctx context.Context, a *act) error {
		var region identity.Region
		err := a.QueryRow(ctx, `
			SELECT o.region FROM deliveries d LEFT JOIN staff s ON s.id = d.staff_id LEFT JOIN webhooks w ON w.id = d.webhook_id
				JOIN organisations o ON o.id = coalesce(s.organisation_id, w.organisation_id) WHERE d.id = $1 FOR UPDATE OF d`, id).Scan(&region)
		if errors.Is(err, pgx.ErrNoRows) {
			return a.absent("delivery", id)
		}
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Staff, record{kind: "delivery", id: id.String(), region: region}); err != nil {
			return err
		}
		tag, err := a.Exec(ctx, `
			WITH rest AS (UPDATE deliveries SET state = 'gathered', digest_id = NULL, done_at = NULL WHERE digest_id = $1 AND state = 'dead'
				AND EXISTS (SELECT FROM deliveries d WHERE d.id = $1 AND d.kind = 'digest' AND d.state = 'dead'))
			UPDATE deliveries SET state = CASE kind WHEN 'digest' THEN 'dropped' ELSE 'waiting' END, attempts = 0, outcome = CASE kind WHEN 'digest' THEN 'gathered_again' ELSE '' END,
				next_at = $2, created_at = CASE kind WHEN 'digest' THEN created_at ELSE $2 END, done_at = CASE kind WHEN 'digest' THEN $2 END
			WHERE id = $1 AND kind <> 'code' AND digest_id IS NULL AND (state = 'dead' OR state = 'delivered' AND channel = 'webhook')`, id, a.at)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return refused("delivery_under_way")
		}
		rows, err := a.Query(ctx, deliveryColumns+`WHERE d.id = $1`, id)
		if err != nil {
			return err
		}
		out, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[DeliveryView])
		return err
	})
	return out, err
}

// DeliveryCount is how many deliveries of a channel are in a state.
type DeliveryCount struct {
	Channel Channel    `json:"channel" class:"staff" mask:"drop"`
	State   string     `json:"state" class:"staff" mask:"drop"`
	Count   int        `json:"count" class:"staff" mask:"drop"`
	Oldest  *time.Time `json:"oldest,omitempty" class:"staff" mask:"drop"`
}

// DeliveryStatus counts the deliveries of the whole installation, for whoever operates it.
func (s *Store) DeliveryStatus(ctx context.Context, actor Actor) ([]DeliveryCount, error) {
	var out []DeliveryCount
	err := s.act(ctx, actor, "DeliveryStatus", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if err := a.permit(policy.Write, policy.Staff, deliveriesRecord()); err != nil {
			return err
		}
		rows, err := a.Query(ctx, `SELECT channel, state, count(*)::int, min(created_at) FROM deliveries GROUP BY channel, state ORDER BY channel, state`)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[DeliveryCount])
		return err
	})
	return out, err
}

// ReplayDead has every dead delivery of a channel, or of all, tried again that is not too old.
func (s *Store) ReplayDead(ctx context.Context, actor Actor, channel Channel) (int, error) {
	n := 0
	err := s.act(ctx, actor, "ReplayDead", policy.ForAdministration, func(ctx context.Context, a *act) error {
		stale := a.rules(nation).Span(rules.NoticeStale)
		tag, err := a.Exec(ctx, `
			UPDATE deliveries SET state = 'waiting', attempts = 0, outcome = '', next_at = $1, done_at = NULL
			WHERE state = 'dead' AND kind IN ('notice', 'ping') AND digest_id IS NULL AND ($2 = '' OR channel = $2) AND created_at > $3`, a.at, string(channel), a.at.Add(-time.Duration(stale.Hours())*time.Hour))
		if err != nil {
			return err
		}
		n = int(tag.RowsAffected())
		return a.permitShown(policy.Write, policy.Staff, deliveriesRecord(), n)
	})
	return n, err
}

// UnreadNotices counts the notices that ListNotices would give the actor as unread, up to a hundred: for a bell that every page shows.
// It is a number about the actor alone, asked for with every page, so it leaves no row in the audit.
func (r *Reader) UnreadNotices(ctx context.Context, actor Actor) (int, error) {
	n := 0
	err := r.act(ctx, actor, "UnreadNotices", policy.ForCase, func(ctx context.Context, a *act) error {
		a.decided = true
		within := a.reachOf(policy.Read, policy.Notice)
		if within.empty() {
			return nil
		}
		return a.QueryRow(ctx, `SELECT count(*) FROM (SELECT FROM notices n WHERE n.read_at IS NULL AND `+heardBy+` LIMIT 100) unread`,
			actor.staff, within.site || len(within.lo) > 0, within.organisation, within.lo, within.hi).Scan(&n)
	})
	return n, err
}
