package web_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/registrytest"
	"github.com/liferelay/liferelay/registry/seal"
)

// walked are the records of the walk: one of each kind, in Gulou; the patient's in Shanghai.
type walked struct {
	*pages
	drive, donor, caseID, task, patient, search, notice uuid.UUID
	webhook, delivery, certificate                      uuid.UUID
	emergency, export, request                          uuid.UUID
	firstBarcode, donorNumber, auditRow                 string
	colleague, machine                                  uuid.UUID // accounts without a role
	second, pair, handover, asking                      uuid.UUID // another donor, who may be the first; and what waits for an answer
	words                                               registry.NoticeTemplate
	asker, approver                                     registry.Actor // of exports: one asks, the other decides
	inClear, ofTypings                                  registry.ExportForm
	met                                                 int // how many donors the walk has registered

	here, atCase, atDonor, atDrive, atSearch, atPatient registrytest.About
}

// step is one page or act of the walk: which class of which record it touches, and how.
type step struct {
	class   policy.Class
	action  policy.Action
	purpose policy.Purpose
	rec     registrytest.About
	list    bool           // a list, which is empty or denied as a whole
	home    bool           // of the walker's own organisation
	or      policy.Class   // this will do as well
	orFor   policy.Purpose // for this purpose; people's rights when it is empty
	also    policy.Class   // what must be allowed besides, with …
	doing   policy.Action  // … this
	among   []policy.Role  // of those whom the policy lets, only these: whose work it is
	sits    bool           // of those whom the policy lets, only who sits at the record's table
	path    string         // with the record's id
	form    url.Values
	file    []byte                      // that comes with the form
	anew    func(*step)                 // makes the record, and again whenever somebody who may has used it up
	mine    func(*step, registry.Actor) // whoever may does it to what they made themselves, and nobody to the record of path, which is another's
	away    bool                        // asks the case itself, which nobody carries here: who may is told that the desk is away
	own     bool                        // everybody's who is signed in
	public  bool
}

// steps lists every page and act. A slice of the site adds its own here, beside what it touches.
func (w *walked) steps() map[string]step {
	patient := url.Values{"birth_year": {"2015"}, "sex": {"male"}, "diagnosis": {"C91.0"}, "weight_kg": {"30"}, "urgency": {"urgent"}, "gl": {gl}, "nomenclature": {"3.57.0"}, "consent_on": {w.clock().In(registry.Zone).Format(time.DateOnly)}}
	out := map[string]step{
		"GET /signin": {public: true}, "POST /signin": {public: true}, "GET /signin/code": {public: true}, "POST /signin/code": {public: true}, "POST /language": {public: true},
		"GET /{$}": {own: true, path: "/"}, "GET /live": {own: true, path: "/live"}, "GET /regions": {own: true, path: "/regions?field=region&region=" + url.QueryEscape("鼓楼")},
		"POST /purpose": {own: true, path: "/purpose", form: url.Values{"purpose": {"case"}}},
		"POST /signout": {own: true, path: "/signout"},
		// The numbers of one's own lists are everybody's; what statistics tell is decided in them (dashboard_test.go).
		"GET /dashboard":                        {own: true, path: "/dashboard"},
		"GET /dashboard/statistics.csv":         {class: policy.Statistics, action: policy.Export, purpose: policy.ForAdministration, rec: w.here, path: "/dashboard/statistics.csv?region=320106"},
		"GET /dashboard/{chart}":                {class: policy.Statistics, action: policy.Read, purpose: policy.ForAdministration, rec: w.here, path: "/dashboard/funnel.svg?region=320106"},
		"GET /patients":                         {class: policy.Patient, action: policy.Read, purpose: policy.ForSearch, list: true, path: "/patients"},
		"GET /patients/new":                     {class: policy.Patient, action: policy.Write, purpose: policy.ForSearch, home: true, path: "/patients/new"},
		"POST /patients":                        {class: policy.Patient, action: policy.Write, purpose: policy.ForSearch, home: true, path: "/patients", form: patient},
		"POST /patients/typing":                 {class: policy.Patient, action: policy.Write, purpose: policy.ForSearch, home: true, path: "/patients/typing", form: patient},
		"GET /patients/{id}":                    {class: policy.Patient, action: policy.Read, purpose: policy.ForSearch, rec: w.atPatient, path: "/patients/" + w.patient.String()},
		"GET /searches":                         {class: policy.Search, action: policy.Read, purpose: policy.ForSearch, list: true, path: "/searches"},
		"GET /searches/new":                     {class: policy.Patient, action: policy.Read, purpose: policy.ForSearch, rec: w.atPatient, path: "/searches/new?patient=" + w.patient.String()},
		"POST /searches":                        {class: policy.Search, action: policy.Write, purpose: policy.ForSearch, rec: w.atPatient, path: "/searches", form: url.Values{"patient": {w.patient.String()}, "policy": {"9/10"}}},
		"GET /searches/{id}":                    {class: policy.Search, action: policy.Read, purpose: policy.ForSearch, rec: w.atSearch, path: "/searches/" + w.search.String()},
		"GET /searches/{id}/compare":            {class: policy.Search, action: policy.Read, purpose: policy.ForSearch, rec: w.atSearch, path: "/searches/" + w.search.String() + "/compare?donor=" + w.donor.String() + "&donor=" + w.search.String()},
		"GET /searches/{id}/candidates/{donor}": {class: policy.Search, action: policy.Read, purpose: policy.ForSearch, rec: w.atSearch, path: "/searches/" + w.search.String() + "/candidates/" + w.donor.String()},
		"POST /searches/{id}/choose":            {class: policy.Search, action: policy.Read, purpose: policy.ForSearch, rec: w.atSearch, path: "/searches/" + w.search.String() + "/choose", form: url.Values{"donor": {w.donor.String()}}},
		"POST /searches/{id}/close":             {class: policy.Search, action: policy.Decide, purpose: policy.ForSearch, rec: w.atSearch, path: "/searches/" + w.search.String() + "/close", form: url.Values{"reason": {"other"}, "version": {"999"}}},

		"GET /notices":                           {class: policy.Notice, action: policy.Read, purpose: policy.ForCase, list: true, path: "/notices"},
		"GET /notices/count":                     {own: true, path: "/notices/count"},
		"POST /notices/{id}/read":                {class: policy.Notice, action: policy.Read, purpose: policy.ForCase, rec: registrytest.About{Region: "320106", Sites: []uuid.UUID{w.County.ID}}, path: "/notices/" + w.notice.String() + "/read"},
		"GET /notices/settings":                  {own: true, path: "/notices/settings"},
		"POST /notices/settings":                 {own: true, path: "/notices/settings", form: url.Values{"mail": {"digest"}, "sms": {"urgent"}}},
		"POST /notices/contact":                  {own: true, path: "/notices/contact", form: url.Values{"mail": {"somebody@example.org"}}},
		"POST /notices/contact/{channel}/remove": {own: true, path: "/notices/contact/email/remove"},
		"POST /notices/contact/{channel}/verify": {own: true, form: url.Values{"code": {"123456"}}, mine: func(s *step, by registry.Actor) {
			_, err := w.Store.SetContactPoint(context.Background(), by, registry.ContactForm{Mail: seal.EmailOf("somebody@example.org")})
			require.NoError(w.t, err)
			s.path = "/notices/contact/email/verify"
		}},
		"GET /admin/webhooks": {class: policy.Organisation, action: policy.Write, purpose: policy.ForAdministration, list: true, path: "/admin/webhooks"},
		"POST /admin/webhooks": {class: policy.Organisation, action: policy.Write, purpose: policy.ForAdministration, rec: w.here, path: "/admin/webhooks",
			form: url.Values{"organisation": {w.County.ID.String()}, "name": {"平台"}, "url": {"https://hooks.example/"}, "codes": {"task.opened"}}},
		"GET /admin/webhooks/{id}":         {class: policy.Organisation, action: policy.Write, purpose: policy.ForAdministration, rec: w.here, path: "/admin/webhooks/" + w.webhook.String()},
		"POST /admin/webhooks/{id}/change": {class: policy.Organisation, action: policy.Write, purpose: policy.ForAdministration, rec: w.here, path: "/admin/webhooks/" + w.webhook.String() + "/change", form: url.Values{"codes": {"task.opened"}}},
		"POST /admin/webhooks/{id}/ping":   {class: policy.Organisation, action: policy.Write, purpose: policy.ForAdministration, rec: w.here, path: "/admin/webhooks/" + w.webhook.String() + "/ping"},
		"POST /admin/webhooks/{id}/remove": {class: policy.Organisation, action: policy.Write, purpose: policy.ForAdministration, rec: w.here, anew: func(s *step) {
			hook, err := w.Store.AddWebhook(context.Background(), w.Administrator, registry.WebhookForm{Organisation: w.County.ID, Name: "平台", URL: "https://hooks.example/", Codes: []string{"*"}})
			require.NoError(w.t, err)
			s.path = "/admin/webhooks/" + hook.ID.String() + "/remove"
		}},
		"GET /admin/deliveries":              {class: policy.Staff, action: policy.Write, purpose: policy.ForAdministration, list: true, path: "/admin/deliveries"},
		"POST /admin/deliveries/{id}/replay": {class: policy.Staff, action: policy.Write, purpose: policy.ForAdministration, rec: w.here, path: "/admin/deliveries/" + w.delivery.String() + "/replay"},

		"GET /drives/{id}/labels":       {class: policy.Drive, action: policy.Read, purpose: policy.ForEnrolment, rec: w.atDrive, path: "/drives/" + w.drive.String() + "/labels"},
		"GET /drives/{id}/labels.pdf":   {class: policy.Intake, action: policy.Write, purpose: policy.ForEnrolment, rec: w.atDrive, path: "/drives/" + w.drive.String() + "/labels.pdf?format=a4-24&to=" + w.firstBarcode},
		"GET /drives/{id}/forms.pdf":    {class: policy.Intake, action: policy.Write, purpose: policy.ForEnrolment, rec: w.atDrive, path: "/drives/" + w.drive.String() + "/forms.pdf"},
		"GET /tasks/{id}/request.pdf":   {class: policy.Case, action: policy.Read, purpose: policy.ForCase, rec: w.here, path: "/tasks/" + w.task.String() + "/request.pdf"},
		"GET /donors/{id}/certificates": {class: policy.Case, action: policy.Read, purpose: policy.ForFollowUp, rec: w.atDonor, path: "/donors/" + w.donor.String() + "/certificates"},
		"POST /donors/{id}/certificates/{certificate}": {class: policy.Identity, action: policy.Reveal, purpose: policy.ForFollowUp, rec: w.atDonor, path: "/donors/" + w.donor.String() + "/certificates/" + w.certificate.String(),
			form: url.Values{"reason": {"other"}, "note": {"为捐献者颁发证书时使用"}}},
		"GET /verify/{code}": {public: true},
	}
	maps.Copy(out, w.caseSteps())
	maps.Copy(out, w.driveSteps())
	maps.Copy(out, w.donorSteps())
	maps.Copy(out, w.workSteps())
	maps.Copy(out, w.oversightSteps())
	maps.Copy(out, w.administrationSteps())
	maps.Copy(out, w.accountSteps())
	return out
}

// administrationSteps are the pages of those who look after the register, and of one's own account.
func (w *walked) administrationSteps() map[string]step {
	until, day := w.clock().AddDate(0, 1, 0).Format("2006-01-02T15:04"), w.clock().AddDate(0, 1, 0).Format("2006-01-02")
	office, member := "/admin/organisations/"+w.County.ID.String(), "/admin/staff/"+w.colleague.String()
	declared := url.Values{"region": {"320106"}, "day": {day}, "working": {"false"}, "name": {"地方节日"}, "source": {"宁政办发〔2026〕1 号"}}
	words := url.Values{"region": {"320106"}, "version": {"0"}, "zh": {w.words.Chinese}, "en": {w.words.English}}
	template := "/admin/templates/" + w.words.Code + "/" + string(w.words.Channel)
	organisation := func(action policy.Action, path string, form url.Values) step {
		return step{class: policy.Organisation, action: action, purpose: policy.ForAdministration, rec: w.here, path: path, form: form}
	}
	staff := func(action policy.Action, path string, form url.Values) step {
		return step{class: policy.Staff, action: action, purpose: policy.ForAdministration, rec: w.here, path: path, form: form}
	}
	out := map[string]step{
		"GET /admin/organisations":                     organisation(policy.Read, "/admin/organisations", nil),
		"POST /admin/organisations":                    organisation(policy.Write, "/admin/organisations", url.Values{"kind": {"hospital"}, "name": {"医院"}, "region": {"320106"}}),
		"GET /admin/organisations/{id}":                organisation(policy.Read, office, nil),
		"POST /admin/organisations/{id}/change":        organisation(policy.Write, office+"/change", url.Values{"name": {"鼓楼区红十字会"}}),
		"POST /admin/organisations/{id}/service-areas": organisation(policy.Decide, office+"/service-areas", url.Values{"regions": {""}}),

		"GET /admin/staff":              {class: policy.Staff, action: policy.Read, purpose: policy.ForAdministration, list: true, path: "/admin/staff"},
		"POST /admin/staff":             staff(policy.Write, "/admin/staff", url.Values{"login": {"somebodynew"}, "name": {"新人"}, "organisation": {w.County.ID.String()}, "password": {"a long enough sentence"}}),
		"POST /admin/machines":          staff(policy.Write, "/admin/machines", url.Values{"login": {"bloodstation"}, "name": {"血站接口"}, "organisation": {w.County.ID.String()}}),
		"GET /admin/staff/{id}":         staff(policy.Read, member, nil),
		"POST /admin/staff/{id}/change": staff(policy.Write, member+"/change", url.Values{"name": {"同事"}, "version": {"1"}}),
		"POST /admin/staff/{id}/grants": {class: policy.Granting, action: policy.Write, purpose: policy.ForAdministration, rec: w.here, path: member + "/grants",
			form: url.Values{"role": {"registrar"}, "region": {"320106"}, "until": {until}}},
		"POST /admin/staff/{id}/grants/end": {class: policy.Granting, action: policy.Write, purpose: policy.ForAdministration, rec: w.here, path: member + "/grants/end", form: url.Values{"role": {"registrar"}, "region": {"320106"}}},
		"POST /admin/staff/{id}/tokens":     staff(policy.Decide, "/admin/staff/"+w.machine.String()+"/tokens", url.Values{"name": {"导入"}, "scopes": {"donors:read"}, "days": {"30"}}),

		"GET /admin/calendar":          organisation(policy.Read, "/admin/calendar?region=320106", nil),
		"GET /admin/calendar/day":      {class: policy.Organisation, action: policy.Write, purpose: policy.ForAdministration, list: true, path: "/admin/calendar/day?region=320106&day=" + day},
		"POST /admin/calendar/preview": organisation(policy.Write, "/admin/calendar/preview", declared),
		"POST /admin/calendar":         organisation(policy.Write, "/admin/calendar", declared),
		"POST /admin/calendar/remove":  organisation(policy.Write, "/admin/calendar/remove", url.Values{"region": {"320106"}, "day": {day}, "version": {"1"}}),

		"GET /admin/rules":          organisation(policy.Read, "/admin/rules?region=320106", nil),
		"POST /admin/rules/dry-run": organisation(policy.Write, "/admin/rules/dry-run", url.Values{"region": {"320106"}, "key": {"stemcell.remobilisation.due"}, "value": {"3 wd"}}),

		"GET /admin/templates":                           organisation(policy.Read, "/admin/templates?region=320106", nil),
		"GET /admin/templates/{code}/{channel}":          organisation(policy.Read, template+"?region=320106", nil),
		"POST /admin/templates/{code}/{channel}":         organisation(policy.Write, template, words),
		"POST /admin/templates/{code}/{channel}/preview": organisation(policy.Read, template+"/preview", words),
		"POST /admin/templates/{code}/{channel}/remove":  organisation(policy.Write, template+"/remove", url.Values{"region": {"320106"}, "version": {"1"}}),

		"GET /admin/health": {class: policy.Organisation, action: policy.Write, purpose: policy.ForAdministration, list: true, path: "/admin/health"}, // of where one works oneself
	}
	revoke := staff(policy.Decide, "", nil)
	revoke.anew = func(s *step) {
		s.path = "/admin/staff/" + w.machine.String() + "/tokens/" + w.token(w.Security, w.machine).String() + "/revoke"
	}
	out["POST /admin/staff/{id}/tokens/{token}/revoke"] = revoke
	for what, action := range map[string]policy.Action{"deactivate": policy.Write, "reactivate": policy.Write, "unlock": policy.Decide, "reset-factor": policy.Decide, "end-sessions": policy.Decide, "reset-password": policy.Decide} {
		out["POST /admin/staff/{id}/"+what] = staff(action, member+"/"+what, nil)
	}
	return out
}

// accountSteps are what everybody does with their own account, whatever their roles.
func (w *walked) accountSteps() map[string]step {
	const chosen = "a long enough sentence"
	proof := func(password string) url.Values { return url.Values{"password": {password}, "code": {"123456"}} }
	return map[string]step{
		"GET /account":                      {own: true, path: "/account"},
		"GET /account/password":             {own: true, path: "/account/password"},
		"POST /account/password":            {own: true, path: "/account/password", form: url.Values{"old": {registrytest.Password}, "new": {chosen}}},
		"GET /account/factor":               {own: true, path: "/account/factor"},
		"POST /account/factor":              {own: true, path: "/account/factor"},
		"POST /account/factor/confirm":      {own: true, path: "/account/factor/confirm", form: proof("")},
		"POST /account/factor/disable":      {own: true, path: "/account/factor/disable", form: proof(registrytest.Password)},
		"POST /account/recovery-codes":      {own: true, path: "/account/recovery-codes", form: proof(chosen)},
		"POST /account/sessions/end-others": {own: true, path: "/account/sessions/end-others"},
		"POST /account/tokens":              {own: true, path: "/account/tokens", form: url.Values{"name": {"导入"}, "scopes": {"donors:read"}, "days": {"30"}}},
		"POST /account/tokens/{id}/revoke": {own: true, mine: func(s *step, by registry.Actor) {
			s.path = "/account/tokens/" + w.token(by, by.Staff()).String() + "/revoke"
		}},
		"POST /account/sessions/{id}/end": {own: true, path: "/account/sessions/" + w.otherSession(w.Coordinator).String() + "/end",
			mine: func(s *step, by registry.Actor) { s.path = "/account/sessions/" + w.otherSession(by).String() + "/end" }},
	}
}

// otherSession is a session of somebody's beside the one that they walk with.
func (w *walked) otherSession(of registry.Actor) (id uuid.UUID) {
	require.NoError(w.t, w.db.QueryRow(context.Background(), `INSERT INTO sessions (token_hash, staff_id, kind, expires_at, last_seen_at) VALUES (sha256($1), $2, 'browser', now() + interval '1 day', now()) RETURNING id`,
		uuid.New().String(), of.Staff()).Scan(&id))
	return id
}

// oversightSteps are the audit, what is reviewed, what leaves in clear, people's rights and the policy.
func (w *walked) oversightSteps() map[string]step {
	nation := registrytest.About{Region: identity.Nation}
	emergency, export, request := "/emergencies/"+w.emergency.String(), "/exports/"+w.export.String(), "/rights/"+w.request.String()
	leaves := url.Values{"region": {"320106"}, "classes": {"identity"}, "purpose": {"follow_up"}, "reason": {"年度回访需要逐一打电话联系"}}
	out := map[string]step{
		"GET /audit":                {class: policy.Audit, action: policy.Read, purpose: policy.ForAudit, list: true, path: "/audit"},
		"GET /audit/chain":          {class: policy.Audit, action: policy.Read, purpose: policy.ForAudit, list: true, path: "/audit/chain"},
		"GET /audit/export":         {class: policy.Audit, action: policy.Export, purpose: policy.ForAudit, rec: nation, path: "/audit/export"},
		"GET /audit/{id}":           {class: policy.Audit, action: policy.Read, purpose: policy.ForAudit, rec: w.here, path: w.auditRow},
		"POST /audit/verifications": {class: policy.Audit, action: policy.Read, purpose: policy.ForAudit, rec: nation, path: "/audit/verifications"},

		"GET /reviews":     {class: policy.Review, action: policy.Read, purpose: policy.ForAudit, list: true, or: policy.Rights, path: "/reviews"},
		"GET /emergencies": {own: true, path: "/emergencies"}, // one's own is everybody's: oversight_test.go
		"POST /emergencies": {class: policy.Identity, action: policy.BreakGlass, purpose: policy.ForEmergency, path: "/emergencies",
			form: url.Values{"number": {w.numberOf(w.another())}, "classes": {"identity"}, "category": {"accident"}, "reason": {"在外地旅行时出了交通事故"}}},
		"GET /emergencies/{id}":         {class: policy.Review, action: policy.Read, purpose: policy.ForAudit, rec: w.here, path: emergency},
		"POST /emergencies/{id}/words":  {class: policy.Review, action: policy.Decide, purpose: policy.ForEmergency, rec: w.here, path: emergency + "/words"},
		"POST /emergencies/{id}/review": {class: policy.Review, action: policy.Decide, purpose: policy.ForEmergency, rec: w.here, path: emergency + "/review", form: url.Values{"verdict": {"justified"}}},
		"POST /emergencies/{id}/return": {class: policy.Identity, action: policy.BreakGlass, purpose: policy.ForEmergency, path: emergency + "/return",
			mine: func(s *step, by registry.Actor) { s.path = "/emergencies/" + w.brokenBy(by).String() + "/return" }},

		"GET /exports":              {own: true, path: "/exports"}, // one's own are everybody's: oversight_test.go
		"POST /exports":             {class: policy.Identity, action: policy.Export, purpose: policy.ForFollowUp, rec: w.here, path: "/exports", form: leaves},
		"GET /exports/{id}":         {class: policy.Review, action: policy.Read, purpose: policy.ForAudit, rec: w.here, path: export},
		"POST /exports/{id}/words":  {class: policy.Identity, action: policy.Export, purpose: policy.ForFollowUp, rec: w.here, path: export + "/words"},
		"POST /exports/{id}/decide": {class: policy.Identity, action: policy.Export, purpose: policy.ForFollowUp, rec: w.here, path: export + "/decide", form: url.Values{"verdict": {"approve"}}},

		"GET /rights":            {class: policy.Rights, action: policy.Read, purpose: policy.ForRights, list: true, path: "/rights"},
		"GET /rights/new":        {class: policy.Rights, action: policy.Read, purpose: policy.ForRights, list: true, path: "/rights/new?donor=" + w.donor.String()},
		"POST /rights":           {class: policy.Rights, action: policy.Write, purpose: policy.ForRights, rec: w.here, path: "/rights", form: url.Values{"donor": {w.donor.String()}, "kind": {"access"}, "asker": {"person"}, "via": {"counter"}}},
		"GET /rights/{id}":       {class: policy.Rights, action: policy.Read, purpose: policy.ForRights, rec: w.here, path: request},
		"POST /rights/{id}/copy": {class: policy.Rights, action: policy.Export, purpose: policy.ForRights, rec: w.here, path: request + "/copy"},

		"GET /policy":           {class: policy.Granting, action: policy.Read, purpose: policy.ForAudit, list: true, path: "/policy"},
		"GET /policy/simulator": {class: policy.Granting, action: policy.Read, purpose: policy.ForAudit, list: true, path: "/policy/simulator"},
		"POST /policy/simulator": {class: policy.Granting, action: policy.Read, purpose: policy.ForAudit, rec: w.here, path: "/policy/simulator",
			form: url.Values{"role": {"coordinator"}, "region": {"320106"}, "relation": {"region"}}},
	}
	for what, f := range map[string]registry.ExportForm{"withdraw": w.inClear, "donors.csv": w.inClear, "inventory": w.ofTypings} {
		of := func(by registry.Actor) string { return "/exports/" + w.approved(by, f).String() + "/" + what }
		out["POST /exports/{id}/"+what] = step{class: f.Classes[0], action: policy.Export, purpose: f.Purpose, rec: w.here, path: of(w.asker), form: url.Values{"format": {"gl"}},
			mine: func(s *step, by registry.Actor) { s.path = of(by) }}
	}
	return out
}

// workSteps are the worklist and handovers.
func (w *walked) workSteps() map[string]step {
	out := map[string]step{
		"GET /work":      {class: policy.Case, action: policy.Read, purpose: policy.ForCase, list: true, path: "/work"},
		"GET /work/{id}": {class: policy.Case, action: policy.Read, purpose: policy.ForCase, rec: w.here, path: "/work/" + w.task.String()},
		"GET /handovers": {class: policy.Case, action: policy.Read, purpose: policy.ForCase, list: true, path: "/handovers"},
	}
	supervising := []policy.Role{policy.CountyOffice, policy.CityOffice, policy.ProvincialOffice}
	coordinating := append([]policy.Role{policy.Coordinator}, supervising...)
	task, handover := "/work/"+w.task.String(), "/handovers/"+w.handover.String()
	decides := func(purpose policy.Purpose, path string, form url.Values, among ...policy.Role) step {
		return step{class: policy.Case, action: policy.Decide, purpose: purpose, rec: w.here, among: among, path: path, form: form}
	}
	either := func(s step) step {
		s.or, s.orFor = policy.Case, policy.ForAdministration
		return s
	}
	for what, form := range map[string]url.Values{"claim": nil, "release": nil, "more-time": {"reason": {"workload"}, "until": {"2099-01-01"}}, "pause": {"reason": {"waiting_donor"}, "until": {"2099-01-01"}}} {
		out["POST /work/{id}/"+what] = decides(policy.ForCase, task+"/"+what, form, policy.Coordinator)
	}
	out["POST /work/{id}/assign"] = either(decides(policy.ForCase, task+"/assign", nil, coordinating...))
	out["POST /work/{id}/resume"] = either(decides(policy.ForCase, task+"/resume", nil, coordinating...))
	out["POST /work/{id}/take-over"] = decides(policy.ForAdministration, task+"/take-over", url.Values{"reason": {"absent"}}, supervising...)
	out["POST /work/assign"] = step{own: true, path: "/work/assign", form: url.Values{"task": {w.task.String()}}} // each task as by itself
	views := step{class: policy.Case, action: policy.Read, purpose: policy.ForCase, list: true, path: "/work/views", form: url.Values{"name": {"我的"}, "tab": {"all"}}}
	out["POST /work/views"] = views
	views.path = "/work/views/" + uuid.NewString() + "/drop"
	out["POST /work/views/{id}/drop"] = views
	out["GET /time-requests"] = step{class: policy.Case, action: policy.Decide, purpose: policy.ForAdministration, list: true, path: "/time-requests"}
	out["POST /time-requests/{id}/decide"] = decides(policy.ForAdministration, "/time-requests/"+w.asking.String()+"/decide", url.Values{"verdict": {"grant"}}, supervising...)
	out["GET /handovers/{id}"] = step{class: policy.Case, action: policy.Read, purpose: policy.ForCase, rec: w.here, among: append([]policy.Role{policy.Bridge}, coordinating...), path: handover}
	theirs := decides(policy.ForCase, "", url.Values{"reason": {"workload"}}, policy.Coordinator) // it is offered to whoever coordinates at the county's office
	theirs.rec.Office = w.County.ID
	for what, s := range map[string]step{"accept": theirs, "decline": theirs, "withdraw": either(decides(policy.ForCase, "", nil, coordinating...))} {
		s.anew = func(s *step) {
			id, _ := w.caseWith("stemcell.remobilisation", w.donor)
			s.path = "/handovers/" + w.offered(id).String() + "/" + what
		}
		out["POST /handovers/{id}/"+what] = s
	}
	offer := either(step{class: policy.Case, action: policy.Decide, purpose: policy.ForCase, rec: w.atCase, among: coordinating, path: "/cases/" + w.caseID.String() + "/handover"})
	out["GET /cases/{id}/handover"] = offer
	offer.form = url.Values{"organisation": {w.City.ID.String()}, "reason": {"leave"}}
	offer.anew = func(s *step) {
		id, _ := w.caseWith("stemcell.remobilisation", w.donor)
		s.path = "/cases/" + id.String() + "/handover"
	}
	out["POST /cases/{id}/handover"] = offer
	return out
}

// donorSteps are the pages of finding, of donors, and of records that may be one person.
func (w *walked) donorSteps() map[string]step {
	out := map[string]step{
		"GET /find":                {own: true, path: "/find"},
		"POST /find":               {own: true, path: "/find", form: url.Values{"q": {w.donorNumber}}}, // what somebody may not know of is not found
		"GET /donors":              {class: policy.Registration, action: policy.Read, purpose: policy.ForCase, list: true, path: "/donors"},
		"GET /donors/export.csv":   {class: policy.Registration, action: policy.Export, purpose: policy.ForCase, list: true, path: "/donors/export.csv"},
		"GET /donors/{id}":         {class: policy.Registration, action: policy.Read, purpose: policy.ForCase, rec: w.atDonor, path: "/donors/" + w.donor.String()},
		"POST /donors/{id}/reveal": {class: policy.Identity, action: policy.Reveal, purpose: policy.ForCase, rec: w.atDonor, path: "/donors/" + w.donor.String() + "/reveal", form: url.Values{"field": {"name"}, "reason": {"call_donor"}}},
		"GET /duplicates":          {class: policy.Identity, action: policy.Read, purpose: policy.ForEnrolment, list: true, path: "/duplicates"},
	}
	pair := "/duplicates/" + w.pair.String()
	out["POST /donors/{id}/withdraw"] = step{class: policy.Consent, action: policy.Write, purpose: policy.ForEnrolment, rec: w.here, anew: func(s *step) {
		donor := w.another()
		s.path, s.form = "/donors/"+donor.String()+"/withdraw", url.Values{"via": {"phone"}, "number": {w.numberOf(donor)}}
	}}
	out["GET /donors/{id}/looks"] = step{class: policy.Audit, action: policy.Read, purpose: policy.ForAudit, rec: w.here, or: policy.Rights, path: "/donors/" + w.donor.String() + "/looks"}
	out["POST /donors/{id}/shares"] = step{class: policy.Registration, action: policy.Decide, purpose: policy.ForCase, rec: w.atDonor, path: "/donors/" + w.donor.String() + "/shares",
		form: url.Values{"organisation": {w.City.ID.String()}, "reason": {"follow_up"}, "until": {w.clock().AddDate(0, 0, 2).Format(time.DateOnly)}}}
	out["GET /duplicates/{id}"] = step{class: policy.Identity, action: policy.Read, purpose: policy.ForEnrolment, rec: w.here, path: pair}
	out["POST /duplicates/{id}/decide"] = step{class: policy.Identity, action: policy.Write, purpose: policy.ForEnrolment, rec: w.here, path: pair + "/decide", form: url.Values{"decision": {"unsure"}, "reason": {"documents_seen"}}}
	out["POST /donors/{id}/attempts"] = step{class: policy.Case, action: policy.Write, purpose: policy.ForCase, rec: w.atCase, path: "/donors/" + w.donor.String() + "/attempts",
		form: url.Values{"case": {w.caseID.String()}, "at": {"2026-01-01T10:00"}, "channel": {"phone"}, "whom": {"donor"}, "result": {"no_answer"}}}
	out["POST /donors/{id}/shares/{share}/end"] = step{class: policy.Registration, action: policy.Decide, purpose: policy.ForCase, rec: w.atDonor, anew: func(s *step) {
		share := uuid.Must(uuid.NewV7())
		w.exec(`INSERT INTO shares (id, registration_id, organisation_id, reason, shared_by, shared_at, until, region) VALUES ($1, $2, $3, 'follow_up', $4, now(), now() + interval '1 day', '320106')`,
			share, w.donor, w.College.ID, w.Coordinator.Staff())
		s.path = "/donors/" + w.donor.String() + "/shares/" + share.String() + "/end"
	}}
	for what, made := range map[string]func() (id, stays uuid.UUID){"/duplicates/{id}/preview": w.twins, "/duplicates/{id}/merge": w.twins, "/merges/{id}/undo": w.merged} {
		out["POST "+what] = step{class: policy.Identity, action: policy.Write, also: policy.Registration, doing: policy.Decide, purpose: policy.ForEnrolment, rec: w.here, anew: func(s *step) {
			id, stays := made()
			s.path, s.form = strings.Replace(what, "{id}", id.String(), 1), url.Values{"stays": {stays.String()}, "number": {w.numberOf(stays)}, "reason": {"office_confirmed"}}
		}}
	}
	return out
}

// caseSteps are the pages of a case and of its steps.
func (w *walked) caseSteps() map[string]step {
	ctx, path := context.Background(), "/cases/"+w.caseID.String()
	w.exec(`INSERT INTO link.requests (case_id, search_id, patient_id, registration_id, rank) VALUES ($1, $2, $3, $4, 1)`, w.caseID, w.search, w.patient, w.donor)
	bedside := "/steps/" + w.asked(w.caseID, "stemcell.physical_examination", "collection_hospital", policy.CollectionHospital, w.Collection.ID).String()
	pdf := []byte("%PDF-1.7")
	paper := func() string {
		v, err := w.Store.AddAttachment(ctx, w.Coordinator, registry.AttachmentForm{Case: w.caseID, Name: "一.pdf", Body: pdf})
		require.NoError(w.t, err)
		return "/attachments/" + v.ID.String()
	}
	of := func(action policy.Action, rec registrytest.About, path string, form url.Values) step {
		return step{class: policy.Case, action: action, purpose: policy.ForCase, rec: rec, path: path, form: form}
	}
	reviews := func(verdict string, anew func(*step)) step {
		return step{class: policy.Review, action: policy.Decide, purpose: policy.ForCase, rec: w.here, form: url.Values{"verdict": {verdict}}, anew: anew}
	}
	undo := url.Values{"step": {"stemcell.remobilisation"}, "reason": {"wrong_entry"}, "_version": {"1"}}
	return map[string]step{
		"GET /cases":                {class: policy.Case, action: policy.Read, purpose: policy.ForCase, list: true, path: "/cases"},
		"GET /cases/{id}":           of(policy.Read, w.atCase, path, nil),
		"POST /cases/{id}/attempts": of(policy.Write, w.atCase, path+"/attempts", url.Values{"at": {"2026-01-01T10:00"}, "channel": {"phone"}, "whom": {"donor"}, "result": {"no_answer"}}),
		"GET /cases/{id}/undo":      of(policy.Decide, w.atCase, path+"/undo", nil),
		"POST /cases/{id}/undo/ask": of(policy.Decide, w.atCase, "/cases/"+w.late().String()+"/undo/ask", undo),
		"GET /undos":                {class: policy.Review, action: policy.Decide, purpose: policy.ForCase, list: true, path: "/undos"},
		"GET /messages":             {class: policy.Review, action: policy.Decide, purpose: policy.ForCase, list: true, path: "/messages"},
		"GET /steps/{task}":         of(policy.Read, w.here, "/steps/"+w.task.String(), nil),
		"POST /steps/{task}/answer": of(policy.Read, w.here, "/steps/"+w.task.String()+"/answer", nil),

		"POST /cases/{id}/messages":      {class: policy.Case, action: policy.Read, purpose: policy.ForCase, rec: w.atCase, sits: true, path: path + "/messages", form: url.Values{"text": {"可按期采集。"}}},
		"POST /cases/{id}/attachments":   {class: policy.Case, action: policy.Read, purpose: policy.ForCase, rec: w.atCase, sits: true, path: path + "/attachments", file: pdf},
		"POST /steps/{task}/attachments": {class: policy.Case, action: policy.Decide, purpose: policy.ForCase, rec: w.here, path: "/steps/" + w.task.String() + "/attachments", file: pdf},
		"POST /cases/{id}/undo":          {class: policy.Case, action: policy.Decide, purpose: policy.ForCase, rec: w.atCase, away: true, path: path + "/undo", form: undo},
		// The papers of the donor's side name somebody: the bridge, who reads its cases, opens none of them.
		"GET /attachments/{id}": {class: policy.Case, action: policy.Read, purpose: policy.ForCase, rec: w.atDonor, path: paper(),
			among: []policy.Role{policy.Coordinator, policy.CountyOffice, policy.CityOffice, policy.ProvincialOffice, policy.CollectionHospital}},
		"POST /attachments/{id}/remove": {class: policy.Case, action: policy.Write, purpose: policy.ForCase, rec: w.atDonor, form: url.Values{"reason": {"duplicate"}}, anew: func(s *step) { s.path = paper() + "/remove" }},
		"POST /steps/{task}/reveal": {class: policy.Case, action: policy.Read, also: policy.Identity, doing: policy.Reveal, purpose: policy.ForCase,
			rec: registrytest.About{Region: "320106", Sites: []uuid.UUID{w.Collection.ID}, Office: w.Collection.ID}, path: bedside + "/reveal", form: url.Values{"reason": {"verify_identity"}}},
		"POST /undos/{id}": reviews("approve", func(s *step) {
			asked, err := w.Store.AskReopening(ctx, w.Coordinator, w.late(), 1, registry.ReopeningForm{Step: "stemcell.remobilisation", Reason: "wrong_entry"})
			require.NoError(w.t, err)
			s.path = "/undos/" + asked.ID.String()
		}),
		"POST /messages/{id}": reviews("deliver", func(s *step) {
			m, err := w.Store.WriteMessage(ctx, w.Coordinator, w.caseID, registry.MessageForm{Text: seal.NoteOf("电话 138-1234 5678")})
			require.NoError(w.t, err)
			require.Equal(w.t, "held", m.Status)
			s.path = "/messages/" + m.ID.String()
		}),
	}
}

// late is a case of which a step was answered so long ago that somebody else has to agree before it is opened again.
func (w *walked) late() uuid.UUID {
	id, task := w.caseWith("stemcell.remobilisation", w.donor)
	w.exec(`UPDATE tasks SET status = 'done', closed_at = now() - interval '9 days' WHERE id = $1`, task)
	return id
}

// offered offers a case of the city's to whoever coordinates at the county's office.
func (w *walked) offered(id uuid.UUID) uuid.UUID {
	offer := uuid.Must(uuid.NewV7())
	w.exec(`INSERT INTO handovers (id, case_id, region, from_staff, from_organisation, to_organisation, reason, status, offered_at, expires_at) VALUES ($1, $2, '320106', $3, $4, $5, 'leave', 'offered', now(), now() + interval '2 days')`,
		offer, id, w.CityCoordinator.Staff(), w.City.ID, w.County.ID)
	return offer
}

// pairOf are two donors who may be one person.
func (w *walked) pairOf(one, other uuid.UUID) uuid.UUID {
	pair := uuid.Must(uuid.NewV7())
	w.exec(`INSERT INTO duplicates (id, person_id, other_id, region, person_region, other_region, found_by, found_at)
		SELECT $1, a.person_id, b.person_id, a.region, a.region, b.region, '{phone}', now() FROM registrations a, registrations b WHERE a.id = $2 AND b.id = $3`, pair, one, other)
	return pair
}

// another is a donor who is in nothing else.
func (w *walked) another() uuid.UUID {
	w.met++
	entries, err := w.Store.Register(context.Background(), w.Registrar, uuid.NewString(), registry.EntryForm{Drive: w.drive, Forms: []forms.Registration{w.volunteer(w.met)}})
	require.NoError(w.t, err)
	return entries[0].Donors[0].ID
}

// twins are two such donors who may be one person, and who of them stays.
func (w *walked) twins() (pair, stays uuid.UUID) {
	stays = w.another()
	return w.pairOf(stays, w.another()), stays
}

// merged is such a pair that was made one.
func (w *walked) merged() (merge, stays uuid.UUID) {
	pair, stays := w.twins()
	m, err := w.Store.MergeDonors(context.Background(), w.asker, pair, 0, registry.MergeForm{Stays: stays, Reason: "documents_seen", Number: w.numberOf(stays)})
	require.NoError(w.t, err)
	return m.ID, stays
}

// token is a token of a machine's or of one's own.
func (w *walked) token(by registry.Actor, owner uuid.UUID) uuid.UUID {
	made, err := w.Store.AddToken(context.Background(), by, owner, registry.TokenForm{Name: "导入", Scopes: []string{"donors:read"}, Days: 30})
	require.NoError(w.t, err)
	return made.ID
}

// brokenBy is emergency access of somebody's own.
func (w *walked) brokenBy(by registry.Actor) uuid.UUID {
	broken, err := w.Store.BreakGlass(context.Background(), by, registry.EmergencyForm{Number: w.donorNumber, Classes: []policy.Class{policy.Identity}, Category: "accident", Reason: seal.NoteOf("在外地旅行时出了交通事故")})
	require.NoError(w.t, err)
	return broken.ID
}

// approved is an export of somebody's own that another approved.
func (w *walked) approved(by registry.Actor, f registry.ExportForm) uuid.UUID {
	ctx := context.Background()
	export, err := w.Store.AskExport(ctx, by, f)
	require.NoError(w.t, err)
	_, err = w.Store.DecideExport(ctx, w.approver, export.ID, true, registry.ExportDecision{})
	require.NoError(w.t, err)
	return export.ID
}

// newWalked makes the records.
func newWalked(t *testing.T) *walked {
	ctx := context.Background()
	w := &walked{pages: newPages(t, nil, registry.ByEmail), met: 100}
	w.drive = w.planDrive("采样日").ID
	donors := w.volunteers(w.drive, 2)
	w.donor, w.second = donors[0], donors[1]
	patient, err := w.Store.AddPatient(ctx, w.TransplantDoctor, w.patientForm())
	require.NoError(t, err)
	w.patient = patient.ID
	search, err := w.Store.OpenSearch(ctx, w.TransplantDoctor, registry.SearchForm{Patient: patient.ID})
	require.NoError(t, err)
	w.search = search.ID
	w.exec(`INSERT INTO link.candidates (search_id, registration_id, run, rank, matched, possible, of, grades, change) VALUES ($1, $2, 1, 1, 10, 10, 10, '[]', 'new')`, w.search, w.donor)
	w.caseID, w.task = w.caseWith("stemcell.remobilisation", w.donor)
	w.notice, w.asking, w.pair, w.handover = uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7()), w.pairOf(w.donor, w.second), w.offered(w.caseID)
	w.exec(`INSERT INTO clock_requests (id, task_id, case_id, kind, reason, until, asked_by, asked_at, command, status) VALUES ($1, $2, $3, 'more_time', 'workload', now() + interval '9 days', $4, now(), 'x', 'waiting')`, w.asking, w.task, w.caseID, w.Coordinator.Staff())
	w.exec(`INSERT INTO notices (id, code, organisation_id, region, dedupe, at) VALUES ($1, 'task.opened', $2, '320106', $3, now())`, w.notice, w.County.ID, w.notice.String())
	hook, err := w.Store.AddWebhook(ctx, w.Administrator, registry.WebhookForm{Organisation: w.County.ID, Name: "平台", URL: "https://hooks.example/", Codes: []string{"*"}})
	require.NoError(t, err)
	w.webhook, w.delivery, w.certificate = hook.ID, uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	w.exec(`INSERT INTO deliveries (id, kind, channel, code, webhook_id, urgent, state, next_at, created_at) VALUES ($1, 'ping', 'webhook', 'ping', $2, false, 'dead', now(), now())`, w.delivery, w.webhook)
	w.exec(`INSERT INTO certificates (id, number, kind, person_id, case_id, region, nth, issued_on) SELECT $1, 'CT-2026-000001', 'donation', person_id, $3, '320106', 1, now() FROM registrations WHERE id = $2`, w.certificate, w.donor, w.caseID)
	require.NoError(t, w.db.QueryRow(ctx, `SELECT barcode_from FROM drives WHERE id = $1`, w.drive).Scan(&w.firstBarcode))
	require.NoError(t, w.db.QueryRow(ctx, `SELECT number FROM registrations WHERE id = $1`, w.donor).Scan(&w.donorNumber))
	w.emergency = w.brokenBy(w.Coordinator)
	w.asker, w.approver = w.staff("asker", w.City, policy.ProvincialOffice, "320106"), w.staff("approver", w.City, policy.ProvincialOffice, "320106")
	w.inClear = registry.ExportForm{Region: "320106", Classes: []policy.Class{policy.Identity}, Purpose: policy.ForFollowUp, Reason: seal.NoteOf("年度回访需要逐一打电话联系")}
	w.ofTypings = registry.ExportForm{Region: "320106", Classes: []policy.Class{policy.HLA}, Purpose: policy.ForSearch, Reason: seal.NoteOf("向国家库报送本省造血干细胞库存")}
	export, err := w.Store.AskExport(ctx, w.asker, w.inClear)
	require.NoError(t, err)
	request, err := w.Store.FileRights(ctx, w.Registrar, forms.RightsRequest{Donor: w.donor, Kind: "copy", Asker: "person", Via: "counter"})
	require.NoError(t, err)
	w.export, w.request = export.ID, request.ID
	require.NoError(t, w.db.QueryRow(ctx, `SELECT '/audit/' || id || '?at=' || to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') FROM audit WHERE act = 'BreakGlass' LIMIT 1`).Scan(&w.auditRow))
	w.colleague = w.staff("colleague", w.County, "", "").Staff()
	w.machine, err = w.Store.AddMachine(ctx, w.Administrator, registry.MachineForm{Login: "machine", Name: "接口", Organisation: w.County.ID})
	require.NoError(t, err)
	templates, err := w.Store.NoticeTemplates(ctx, w.Administrator, "320106")
	require.NoError(t, err)
	w.words = templates[slices.IndexFunc(templates, func(n registry.NoticeTemplate) bool { return n.Code == "drive.team" && n.Channel == registry.OnScreen })]
	w.here = registrytest.About{Region: "320106"}
	w.atCase = registrytest.About{Region: "320106", Sites: []uuid.UUID{w.County.ID, w.Collection.ID, w.Transplant.ID}}
	w.atDonor = registrytest.About{Region: "320106", Sites: []uuid.UUID{w.County.ID, w.Collection.ID}}
	w.atDrive = registrytest.About{Region: "320106"}
	w.atSearch = registrytest.About{Region: "310104", Sites: []uuid.UUID{w.Transplant.ID}}
	w.atPatient = registrytest.About{Sites: []uuid.UUID{w.Transplant.ID}}
	return w
}

// people are each role near the records, each far from them, and those who watch the whole country.
func (w *walked) people() (out []registrytest.Walker) {
	for _, role := range policy.Roles() {
		at := w.County
		switch role {
		case policy.CollectionHospital:
			at = w.Collection
		case policy.TransplantHospital:
			at = w.Transplant
		case policy.Laboratory:
			at = w.Laboratory
		case policy.CityOffice, policy.ProvincialOffice, policy.Auditor, policy.SystemAdministrator, policy.SecurityAdministrator, policy.AuditAdministrator, policy.Bridge:
			at = w.City
		}
		near, far := w.staff("near-"+string(role), at, role, string(at.Region)), w.staff("far-"+string(role), w.OtherTransplant, role, "110108")
		out = append(out, registrytest.Walker{Actor: near, Role: role, Region: at.Region, At: at.Region}, registrytest.Walker{Actor: far, Role: role, Region: "110108", At: "110108", Far: true})
	}
	keeper := w.staff("keeper", w.City, policy.AuditAdministrator, string(identity.Nation))
	w.exec(`UPDATE staff SET password_hash = (SELECT password_hash FROM staff WHERE login = 'registrar') WHERE kind = 'person' AND password_hash = ''`)
	return append(out, registrytest.Walker{Actor: w.Auditor, Role: policy.Auditor, Region: identity.Nation, At: w.City.Region}, registrytest.Walker{Actor: keeper, Role: policy.AuditAdministrator, Region: identity.Nation, At: w.City.Region})
}

// may asks the policy, and nothing of the register, whether somebody may.
func (s step) may(t *testing.T, p registrytest.Walker) bool {
	if s.own {
		return true
	}
	rec := s.rec
	if s.home {
		rec = registrytest.About{Region: p.At, Sites: []uuid.UUID{p.Organisation()}}
	}
	allows := func(class policy.Class, action policy.Action, purpose policy.Purpose) bool {
		return s.list && p.Reaches(t, class, action, purpose) || !s.list && p.Allows(t, rec, class, action, purpose)
	}
	return (allows(s.class, s.action, s.purpose) || s.or != "" && allows(s.or, s.action, cmp.Or(s.orFor, policy.ForRights))) && (s.also == "" || allows(s.also, s.doing, s.purpose)) &&
		(len(s.among) == 0 || slices.Contains(s.among, p.Role)) && (!s.sits || slices.Contains(rec.Sites, p.Organisation()))
}

// try does a step as somebody, and holds the answer against whether they may.
func (w *walked) try(pattern string, s step, p registrytest.Walker, may bool) {
	method, _, _ := strings.Cut(pattern, " ")
	var a shown
	if form := formOf(method, s.form); s.file != nil {
		a = w.rawFile(p.Actor, s.path, form, "file", s.file)
	} else {
		a = w.raw(p.Actor, method, s.path, form, "X-Forwarded-For", netip.AddrFrom16(p.Staff()).String()) // each from elsewhere: guesses are counted by address
	}
	where := fmt.Sprintf("%s as %s (far: %v): %d %s", pattern, p.Role, p.Far, a.status, a.words())
	refused := a.status == http.StatusForbidden || a.status == http.StatusNotFound
	require.Equal(w.t, may, !refused, where)
	require.NotEqual(w.t, http.StatusTooManyRequests, a.status, where)
	require.False(w.t, strings.HasPrefix(a.header.Get("Location"), "/signin") && pattern != "POST /signout", "nobody is signed in: %s", where)
	if s.away && may {
		require.Equal(w.t, http.StatusServiceUnavailable, a.status, where)
	} else {
		require.Less(w.t, a.status, 500, where)
	}
	if !p.Far || may && !s.own {
		return
	}
	for _, id := range []uuid.UUID{w.donor, w.drive, w.patient, w.search, w.caseID, w.task, w.notice} {
		if !strings.Contains(s.path+s.form.Encode(), id.String()) { // what they asked for themselves: the page leads back there
			require.NotContains(w.t, a.header.Get("Location")+a.body, id.String(), where)
		}
	}
}

// Every page and act is walked as every role, near the records and far from them, and answers as the policy says.
func TestEveryPageAnswersEveryRoleAsThePolicySays(t *testing.T) {
	t.Parallel()
	w := newWalked(t)
	steps := w.steps()
	require.ElementsMatch(t, w.site.Patterns(), slices.Collect(maps.Keys(steps)), "a page or act is not listed here: say which class of what record it touches")
	people := w.people()
	for _, pattern := range slices.Sorted(maps.Keys(steps)) {
		s := steps[pattern]
		method, path, _ := strings.Cut(pattern, " ")
		if s.public {
			continue
		}
		a := w.raw(nobody, method, strings.NewReplacer("{$}", "").Replace(path), formOf(method, url.Values{}))
		require.Equal(t, http.StatusSeeOther, a.status, "%s is shown to somebody who is not signed in", pattern)
		require.Contains(t, a.header.Get("Location"), "/signin")
		allowed, used := false, true
		for _, p := range people {
			if s.anew != nil && used {
				s.anew(&s)
			}
			may := s.may(t, p)
			used, allowed = may, allowed || may
			if s.mine == nil {
				w.try(pattern, s, p, may)
				continue
			}
			if s.path != "" {
				w.try(pattern, s, p, false)
			}
			if may {
				own := s
				s.mine(&own, p.Actor)
				w.try(pattern, own, p, true)
			}
		}
		require.True(t, allowed, "nobody may %s, so nothing was tested", pattern)
	}
}

func formOf(method string, form url.Values) url.Values {
	if method == http.MethodGet {
		return nil
	}
	out := maps.Clone(form)
	if out == nil {
		out = url.Values{}
	}
	out.Set("_key", uuid.NewString())
	return out
}
