package policy

import (
	_ "embed"
	"slices"
	"sync"
	"time"
)

//go:embed granting.csv
var grantingText string

//go:embed separation.csv
var separationText string

// Duty is what somebody did in a case, where doing another thing in it would make them judge in their own cause.
type Duty string

// The duties of separation.csv.
const (
	Coordinate      Duty = "coordinate"
	ApproveAid      Duty = "approve_aid"
	AccompanyFamily Duty = "accompany_family"
	DetermineDeath  Duty = "determine_death"
	Procure         Duty = "procure"
	Transplant      Duty = "transplant"
	ClearDonor      Duty = "clear_donor"
	AskRights       Duty = "ask_rights"
	DecideRights    Duty = "decide_rights"
	BreakTheGlass   Duty = "break_glass"
	ReviewGlass     Duty = "review_glass"
	AskExport       Duty = "ask_export"
	ApproveExport   Duty = "approve_export"
	WriteMessage    Duty = "write_message"
	ReviewMessage   Duty = "review_message"
	AskReopening    Duty = "ask_reopening"
	DecideReopening Duty = "decide_reopening"
)

// Duties lists every duty.
func Duties() []Duty {
	return []Duty{
		Coordinate, ApproveAid, AccompanyFamily, DetermineDeath, Procure, Transplant, ClearDonor, AskRights, DecideRights, BreakTheGlass, ReviewGlass,
		AskExport, ApproveExport, WriteMessage, ReviewMessage, AskReopening, DecideReopening,
	}
}

// separated is the table of what goes not together, both ways, with the reason.
var separated = sync.OnceValue(func() map[[3]string]string {
	out := map[[3]string]string{}
	for _, row := range expand(separationText) {
		kind, one, other, why := row[0], row[1], row[2], row[3]
		out[[3]string{kind, one, other}], out[[3]string{kind, other, one}] = why, why
	}
	return out
})

// Separated tells whether somebody who did a thing in a case may not do another in it, and why.
func Separated(did, does Duty) (why string, separate bool) {
	why, separate = separated()[[3]string{"duty", string(did), string(does)}]
	return why, separate
}

// Incompatible tells whether one person cannot hold two roles, and why.
func Incompatible(one, other Role) (why string, incompatible bool) {
	why, incompatible = separated()[[3]string{"role", string(one), string(other)}]
	return why, incompatible
}

// givers says which roles each role may give.
var givers = sync.OnceValue(func() map[Role][]Role {
	out := map[Role][]Role{}
	for _, row := range expand(grantingText) {
		out[Role(row[0])] = append(out[Role(row[0])], Role(row[1]))
	}
	return out
})

// Gives tells whether a role may give another one at all.
func Gives(by, role Role) bool { return slices.Contains(givers()[by], role) }

// MayGrant tells whether a subject may make somebody a role in a region until an instant: only what they hold the giving of,
// where they hold it, and not longer than they do. region is as in a Question. The system gives what an operator at the machine enters.
func (p *Policy) MayGrant(subject string, role Role, region []string, until time.Time) bool {
	return subject == System || p.open || slices.ContainsFunc(p.holdings[subject], func(g Grant) bool {
		return Gives(g.Role, role) && slices.Contains(region, g.Region) && !until.After(g.Until)
	})
}

// MayRevoke tells whether a subject may end a grant: what they could have given, whenever it was to end.
func (p *Policy) MayRevoke(subject string, role Role, region []string) bool {
	return p.MayGrant(subject, role, region, time.Time{})
}
