package registry

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
)

// How a donor stands, beside who they are: what holds them back, where they are in, who tried to reach them and when they may be
// called again, and what came of it all.

// DonorFlags are what whoever works with a donor must see first. Each is of the class of what it tells.
type DonorFlags struct {
	CoolingOff     calendar.Date  `json:"cooling_off_until,omitzero" doc:"The reflection period lasts until this day." class:"registration" mask:"drop"`
	Withdrawn      bool           `json:"withdrawn,omitempty" class:"registration" mask:"drop"`
	Unreachable    bool           `json:"unreachable,omitempty" doc:"Nobody reached the donor." class:"registration" mask:"drop"`
	Unavailable    calendar.Date  `json:"unavailable_until,omitzero" class:"registration" mask:"drop"`
	Deferred       bool           `json:"deferred,omitempty" class:"health" mask:"drop"`
	DeferredUntil  calendar.Date  `json:"deferred_until,omitzero" doc:"Absent of a deferral for good." class:"health" mask:"drop"`
	Cases          []DonorCase    `json:"cases,omitempty" doc:"The open cases that the person is in." class:"case" mask:"drop"`
	ReservedUntil  *time.Time     `json:"reserved_until,omitempty" class:"case" mask:"drop"`
	SharedUntil    *time.Time     `json:"shared_until,omitempty" doc:"Shared with another office." class:"registration" mask:"drop"`
	EmergencyUntil *time.Time     `json:"emergency_until,omitempty" doc:"The reader's own emergency access runs." class:"registration" mask:"drop"`
	Opened         []policy.Class `json:"emergency_classes,omitempty" doc:"What it opens." class:"registration" mask:"drop"`
	MergedInto     uuid.UUID      `json:"merged_into,omitzero" doc:"The registration that this one was made one with." class:"registration" mask:"drop"`
	Duplicates     int            `json:"duplicates,omitempty" doc:"Pairs that wait for a decision whether the person is another one too." class:"identity" mask:"drop"`
}

// DonorCase is an open case of a donor's.
type DonorCase struct {
	ID       uuid.UUID `json:"id" class:"case" mask:"drop"`
	Number   string    `json:"number" class:"case" mask:"drop"`
	Protocol Protocol  `json:"protocol" class:"case" mask:"drop"`
	Step     string    `json:"step" class:"case" mask:"drop"`
}

// AttemptsSection is who tried to reach the donor, in all of the person's cases, and when they may be called next.
type AttemptsSection struct {
	Lines  []AttemptLine `json:"lines" doc:"The newest first." class:"case" mask:"drop"`
	Today  int           `json:"today" class:"case" mask:"drop"`
	Most   int           `json:"most" doc:"Attempts in a day, by the rule contact.attempts_a_day." class:"case" mask:"drop"`
	From   string        `json:"from" doc:"The time of day from which a donor may be called, by the rule contact.from." class:"case" mask:"drop"`
	Until  string        `json:"until" doc:"And until which, by the rule contact.until." class:"case" mask:"drop"`
	NextAt *time.Time    `json:"next_at,omitempty" doc:"When the donor may be called next; left out when they may be called now." class:"case" mask:"drop"`
	MayNow bool          `json:"may_now" class:"case" mask:"drop"`
}

// AttemptLine is one try.
type AttemptLine struct {
	Case    uuid.UUID `json:"case" class:"case" mask:"drop"`
	Number  string    `json:"number" class:"case" mask:"drop"`
	At      time.Time `json:"at" class:"case" mask:"drop"`
	Channel string    `json:"channel" class:"case" mask:"drop"`
	Whom    string    `json:"whom" class:"case" mask:"drop"`
	Result  string    `json:"result" class:"case" mask:"drop"`
	By      string    `json:"by" class:"case" mask:"drop"`
}

// CustodyLine is a handover of a sample.
type CustodyLine struct {
	At        time.Time `json:"at" class:"specimen" mask:"drop"`
	From      string    `json:"from" class:"specimen" mask:"drop"`
	To        string    `json:"to" class:"specimen" mask:"drop"`
	Condition string    `json:"condition" class:"specimen" mask:"drop"`
}

// TypingLine is a typing that was reported.
type TypingLine struct {
	Kind         string        `json:"kind" class:"hla" mask:"drop"`
	Method       string        `json:"method" class:"hla" mask:"drop"`
	Nomenclature string        `json:"nomenclature" class:"hla" mask:"drop"`
	Resolution   string        `json:"resolution" doc:"high, intermediate or low, of the least precise locus." class:"hla" mask:"drop"`
	GL           string        `json:"gl" class:"hla" mask:"drop"`
	Laboratory   string        `json:"laboratory" class:"hla" mask:"drop"`
	TypedOn      calendar.Date `json:"typed_on" class:"hla" mask:"drop"`
	Current      bool          `json:"current" class:"hla" mask:"drop"`
}

// DonationLine is one day of a donation.
type DonationLine struct {
	Case        uuid.UUID     `json:"case" class:"health" mask:"drop"`
	Programme   string        `json:"programme" class:"health" mask:"drop"`
	Product     string        `json:"product" class:"health" mask:"drop"`
	Day         int           `json:"day" class:"health" mask:"drop"`
	CollectedOn calendar.Date `json:"collected_on" class:"health" mask:"drop"`
	VolumeML    float64       `json:"volume_ml" class:"health" mask:"drop"`
}

// CertificateLine is a certificate or a letter that was issued.
type CertificateLine struct {
	Number   string        `json:"number" class:"case" mask:"drop"`
	Kind     string        `json:"kind" class:"case" mask:"drop"`
	Nth      int           `json:"nth,omitempty" doc:"The county's how manieth donor." class:"case" mask:"drop"`
	IssuedOn calendar.Date `json:"issued_on" class:"case" mask:"drop"`
}

// CarePlanLine is a care plan, with how many of its touches are behind it.
type CarePlanLine struct {
	ID       uuid.UUID     `json:"id" class:"health" mask:"drop"`
	Template string        `json:"template" class:"health" mask:"drop"`
	Status   string        `json:"status" class:"health" mask:"drop"`
	StartsOn calendar.Date `json:"starts_on" class:"health" mask:"drop"`
	Next     calendar.Date `json:"next_on,omitzero" class:"health" mask:"drop"`
	Done     int           `json:"done" class:"health" mask:"drop"`
	Of       int           `json:"of" class:"health" mask:"drop"`
}

// ofThePersonsCases tells of a case c that it is about a registration of a person, $1.
const ofThePersonsCases = `(c.id IN (SELECT id FROM registrations WHERE person_id = $1) OR c.protocol <> 'enrolment' AND c.subject_id IN (SELECT id FROM registrations WHERE person_id = $1))`

// readStanding reads the flags that a registration's own classes tell; those of other classes are emptied by show.
func readStanding(ctx context.Context, a *act, row registrationRow, v *DonorView) error {
	f := &v.Flags
	today := a.today()
	if row.CoolingOff.After(today) && row.Status == "enrolling" {
		f.CoolingOff = row.CoolingOff
	}
	f.Withdrawn, f.Unreachable = row.Status == "withdrawn", row.Status == "unavailable" && row.StatusReason == "UC"
	for _, l := range row.leases {
		if f.EmergencyUntil == nil || l.Until.After(*f.EmergencyUntil) {
			until := l.Until
			f.EmergencyUntil = &until
		}
		f.Opened = append(f.Opened, l.Classes...)
	}
	var unavailable, deferred *calendar.Date
	var forGood bool
	var b pgx.Batch
	b.Queue(`
		SELECT unavailable_until, coalesce(merged_into, '00000000-0000-0000-0000-000000000000'),
			(SELECT max(expires_at) FROM reservations WHERE registration_id = r.id AND released_at IS NULL),
			(SELECT max(until) FROM shares WHERE registration_id = r.id AND until > $2 AND ended_at IS NULL),
			(SELECT count(*) FROM duplicates WHERE (person_id = r.person_id OR other_id = r.person_id) AND decision IN ('', 'unsure'))
		FROM registrations r WHERE id = $1`, row.ID, a.now()).QueryRow(func(r pgx.Row) error {
		return r.Scan(&unavailable, &f.MergedInto, &f.ReservedUntil, &f.SharedUntil, &f.Duplicates)
	})
	b.Queue(`
		SELECT coalesce(bool_or(until_day IS NULL), false), max(until_day), count(*) > 0 FROM deferrals
		WHERE person_id = $1 AND lifted_at IS NULL AND (until_day IS NULL OR until_day >= $2) AND programme IN ($3, 'all')`, row.Person, today, string(row.Programme)).QueryRow(func(r pgx.Row) error {
		return r.Scan(&forGood, &deferred, &f.Deferred)
	})
	b.Queue(`SELECT id, number, protocol, step FROM cases c WHERE c.status = 'open' AND c.protocol <> 'rights' AND `+ofThePersonsCases+` ORDER BY opened_at DESC, id`, row.Person).Query(func(rows pgx.Rows) (err error) {
		f.Cases, err = pgx.CollectRows(rows, pgx.RowToStructByPos[DonorCase])
		return err
	})
	if err := a.SendBatch(ctx, &b).Close(); err != nil {
		return err
	}
	if unavailable != nil && row.Status == "unavailable" {
		f.Unavailable = *unavailable
	}
	if deferred != nil && !forGood {
		f.DeferredUntil = *deferred
	}
	return nil
}

func readAttempts(ctx context.Context, a *act, row registrationRow, v *DonorView) error {
	rows, err := a.Query(ctx, `
		SELECT c.id, c.number, t.at, t.channel, t.whom, t.result, coalesce(s.display_name, '') FROM contact_attempts t JOIN cases c ON c.id = t.case_id LEFT JOIN staff s ON s.id = t.staff_id
		WHERE `+ofThePersonsCases+` ORDER BY t.at DESC, t.id DESC LIMIT 200`, row.Person)
	if err != nil {
		return err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowToStructByPos[AttemptLine])
	if err != nil {
		return err
	}
	var made []time.Time
	for _, l := range lines {
		made = append(made, l.At)
	}
	s := a.mayCall(row.Region, made)
	s.Lines = lines
	v.Attempts = &s
	rows, err = a.Query(ctx, `
		SELECT number, kind, coalesce(nth, 0), issued_on FROM certificates WHERE person_id = $1 ORDER BY issued_on, id`, row.Person)
	if err != nil {
		return err
	}
	v.Certificates, err = pgx.CollectRows(rows, pgx.RowToStructByPos[CertificateLine])
	return err
}

// mayCall tells when somebody who was tried at some instants may be called next: not at night, and not more often in a day than the rules
// of the region say.
func (a *act) mayCall(region identity.Region, made []time.Time) AttemptsSection {
	in := a.rules(region)
	return NextCall(in, a.at, made)
}

// NextCall is mayCall by rules, at an instant.
func NextCall(in rules.Rules, now time.Time, made []time.Time) AttemptsSection {
	today := calendar.Of(now, Zone)
	clock := func(k rules.Key) time.Duration { return time.Duration(in.Amount(k)) * time.Minute }
	s := AttemptsSection{Lines: []AttemptLine{}, Most: in.Count(rules.ContactsADay), From: in.Value(rules.ContactFrom), Until: in.Value(rules.ContactUntil)}
	for _, at := range made {
		if calendar.Of(at, Zone) == today {
			s.Today++
		}
	}
	from, until := today.Start(Zone).Add(clock(rules.ContactFrom)), today.Start(Zone).Add(clock(rules.ContactUntil))
	switch {
	case s.Today >= s.Most || !now.Before(until):
		from = today.AddDays(1).Start(Zone).Add(clock(rules.ContactFrom))
		s.NextAt = &from
	case now.Before(from):
		s.NextAt = &from
	default:
		s.MayNow = true
	}
	return s
}

func readOutcomes(ctx context.Context, a *act, row registrationRow, v *DonorView) error {
	rows, err := a.Query(ctx, `SELECT case_id, programme, product, day, collected_on, volume_ml::float8 FROM donations WHERE person_id = $1 ORDER BY collected_on, day, id`, row.Person)
	if err != nil {
		return err
	}
	if v.Donations, err = pgx.CollectRows(rows, pgx.RowToStructByPos[DonationLine]); err != nil {
		return err
	}
	rows, err = a.Query(ctx, `
		SELECT p.id, template, p.status, starts_on, min(t.due_on) FILTER (WHERE t.status IN ('planned', 'asked')), count(t.id) FILTER (WHERE t.status IN ('answered', 'missed')), count(t.id)
		FROM care_plans p LEFT JOIN touches t ON t.plan_id = p.id WHERE p.person_id = $1 GROUP BY p.id ORDER BY p.starts_on, p.id`, row.Person)
	if err != nil {
		return err
	}
	v.CarePlans, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (l CarePlanLine, err error) {
		var next *calendar.Date
		err = row.Scan(&l.ID, &l.Template, &l.Status, &l.StartsOn, &next, &l.Done, &l.Of)
		if next != nil {
			l.Next = *next
		}
		return l, err
	})
	return err
}

func readTypings(ctx context.Context, a *act, row registrationRow, v *DonorView) error {
	rows, err := a.Query(ctx, `
		SELECT t.kind, t.method, t.nomenclature, t.gl_string, coalesce(o.name, ''), t.typed_on, t.current FROM typings t LEFT JOIN organisations o ON o.id = t.laboratory_id
		WHERE t.registration_id = $1 ORDER BY t.typed_on DESC, t.id DESC`, row.ID)
	if err != nil {
		return err
	}
	v.Typings, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (l TypingLine, err error) {
		err = row.Scan(&l.Kind, &l.Method, &l.Nomenclature, &l.GL, &l.Laboratory, &l.TypedOn, &l.Current)
		l.Resolution = hla.ResolutionOf(l.GL)
		return l, err
	})
	return err
}

// readCustody reads who handed a donor's samples to whom, into the lines of the samples.
func readCustody(ctx context.Context, a *act, row registrationRow, v *DonorView) error {
	rows, err := a.Query(ctx, `
		SELECT s.barcode, c.at, coalesce(f.name, ''), coalesce(t.name, ''), c.condition FROM custody c JOIN specimens s ON s.id = c.specimen_id
			LEFT JOIN organisations f ON f.id = c.from_id LEFT JOIN organisations t ON t.id = c.to_id
		WHERE s.registration_id = $1 ORDER BY c.at, c.id`, row.ID)
	if err != nil {
		return err
	}
	var barcode string
	var l CustodyLine
	_, err = pgx.ForEachRow(rows, []any{&barcode, &l.At, &l.From, &l.To, &l.Condition}, func() error {
		for i := range v.Specimens {
			if v.Specimens[i].Barcode == barcode {
				v.Specimens[i].Custody = append(v.Specimens[i].Custody, l)
			}
		}
		return nil
	})
	return err
}
