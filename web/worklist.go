package web

import (
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/identity"
)

func (s *Site) worklistPages() {
	s.page("GET /work", s.worklist, inAct)
	s.page("GET /work/{id}", s.workTask)
	s.act("POST /work/{id}/claim", s.claim)
	s.act("POST /work/{id}/release", s.release)
	s.act("POST /work/{id}/take-over", s.takeOver)
	s.act("POST /work/{id}/assign", s.assign)
	s.act("POST /work/{id}/more-time", s.moreTime)
	s.act("POST /work/{id}/pause", s.pauseTask)
	s.act("POST /work/{id}/resume", s.resumeTask)
	s.act("POST /work/assign", s.assignMany)
	s.act("POST /work/views", s.saveView)
	s.act("POST /work/views/{id}/drop", s.dropView)
	s.page("GET /time-requests", s.timeRequests)
	s.act("POST /time-requests/{id}/decide", s.decideTime)
}

const workPage = 50 // rows of a page

// workShown is what the worklist's page shows.
type workShown struct {
	registry.WorkPage
	filter registry.WorkFilter
	next   string
}

// workFilter reads the tab and the filter of the address.
func workFilter(v *Visit) registry.WorkFilter {
	f := registry.WorkFilter{Tab: registry.WorkTab(v.Query("tab")), Protocol: registry.Protocol(v.Query("protocol")), Step: v.Query("step"), Region: identity.Region(v.Query("region")), Number: v.Query("number")}
	known := false
	for _, tab := range registry.WorkTabs() {
		known = known || tab == f.Tab
	}
	if !known {
		f.Tab = registry.WorkAll
	}
	if f.Region != "" && f.Region.Level() == identity.NoLevel {
		f.Region = ""
	}
	return f
}

func (s *Site) worklist(v *Visit) (Answer, error) {
	shown := workShown{filter: workFilter(v)}
	f := shown.filter
	f.Limit = workPage + 1
	if at, id, ok := workCursor(v.Query("after")); ok {
		f.After, f.AfterID = at, id
	}
	var err error
	if shown.WorkPage, err = s.store.ShowWorkPage(v, v.Actor, f); err != nil {
		return nil, err
	}
	if v.r.URL.RawQuery == "" { // nothing is asked for: the view that somebody chose to begin with
		for _, view := range shown.Views {
			if view.Default {
				return v.To(viewPath(view), ""), nil
			}
		}
	}
	if len(shown.Lines) > workPage {
		shown.Lines = shown.Lines[:workPage]
		last := shown.Lines[workPage-1]
		shown.next = strconv.FormatInt(last.RankAt.UnixMicro(), 10) + "." + last.ID.String()
	}
	return v.Page("page.work", worklistPage(v, &shown)), nil
}

// workCursor reads where the next page begins: the rank of the last line and its task.
func workCursor(text string) (time.Time, uuid.UUID, bool) {
	for i := range text {
		if text[i] == '.' {
			micro, err := strconv.ParseInt(text[:i], 10, 64)
			id, errID := uuid.Parse(text[i+1:])
			return time.UnixMicro(micro), id, err == nil && errID == nil
		}
	}
	return time.Time{}, uuid.Nil, false
}

// workLine is one line of somebody's list, whichever tab it stands in.
func (s *Site) workLine(v *Visit, id uuid.UUID) (registry.WorkLine, error) {
	t, err := s.store.ShowTask(v, v.Actor, id)
	if err != nil {
		return registry.WorkLine{}, err
	}
	for _, tab := range []registry.WorkTab{registry.WorkAll, registry.WorkWaiting} {
		lines, err := s.store.Work(v, v.Actor, registry.WorkFilter{Tab: tab, CaseID: t.CaseID, Limit: 200})
		if err != nil {
			return registry.WorkLine{}, err
		}
		for _, l := range lines {
			if l.ID == id {
				return l, nil
			}
		}
	}
	return registry.WorkLine{TaskView: t, Stage: t.Step, Quick: "look"}, nil // it is closed, or nobody's to list
}

// taskShown is one task beside the list, with what can be done about it.
type taskShown struct {
	line         registry.WorkLine
	mates        []registry.Coworker
	more, paused *Filled
}

func (s *Site) workTask(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	return s.showWork(v, id, Blank[registry.MoreTimeForm](v), Blank[registry.PauseForm](v))
}

func (s *Site) showWork(v *Visit, id uuid.UUID, more, paused *Filled) (Answer, error) {
	line, err := s.workLine(v, id)
	if err != nil {
		return nil, err
	}
	shown := taskShown{line: line, more: more, paused: paused}
	if line.Status == "open" && (line.Mine || line.Supervised) {
		if shown.mates, err = s.store.Colleagues(v, v.Actor, id); err != nil {
			return nil, err
		}
	}
	return v.Page("page.work_task", workTaskPage(v, shown), "Case", line.CaseNumber), nil
}

// back leads to the task that something was done about, or to the list.
func back(v *Visit, id uuid.UUID, said string) Answer {
	if to := v.Field("return_to"); len(to) > 5 && to[:5] == "/work" {
		return v.To(to, said)
	}
	return v.To("/work/"+id.String(), said)
}

func (s *Site) claim(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err == nil {
		_, err = s.store.ClaimTask(v, v.Actor, id)
	}
	if err != nil {
		return nil, err
	}
	if v.Partial() { // the page that is open renews it
		v.SetHeader("Cache-Control", "no-store")
		v.w.WriteHeader(http.StatusNoContent)
		return nothing{}, nil
	}
	return back(v, id, "said.work_claimed"), nil
}

func (s *Site) release(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err == nil {
		err = s.store.ReleaseTask(v, v.Actor, id)
	}
	if err != nil {
		return nil, err
	}
	return back(v, id, "said.work_released"), nil
}

func (s *Site) takeOver(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err == nil {
		_, err = s.store.TakeOverTask(v, v.Actor, id, registry.LeaseForm{Reason: v.Field("reason"), To: v.FieldID("to")})
	}
	if err != nil {
		return nil, err
	}
	return back(v, id, "said.work_taken_over"), nil
}

func (s *Site) assign(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err == nil {
		_, err = s.store.AssignTask(v, v.Actor, id, v.FieldInt("version"), registry.AssignForm{Staff: v.FieldID("staff")})
	}
	if err != nil {
		return nil, err
	}
	return back(v, id, "said.work_assigned"), nil
}

func (s *Site) assignMany(v *Visit) (Answer, error) {
	f := registry.AssignManyForm{Staff: v.FieldID("staff")}
	for _, text := range v.Fields("task") {
		id, err := uuid.Parse(text)
		if err != nil {
			return nil, registry.NewError(registry.NotFound, "task_not_found", nil)
		}
		f.Tasks = append(f.Tasks, id)
	}
	done, err := s.store.AssignTasks(v, v.Actor, f)
	if err != nil {
		return nil, err
	}
	return v.Page("page.work_assigned", assignedPage(v, done)), nil
}

func (s *Site) moreTime(v *Visit) (Answer, error) {
	f, filled := Read[registry.MoreTimeForm](v)
	return s.askClock(v, registry.ClockAsk{Kind: registry.MoreTime, Reason: f.Reason, Until: f.Until}, filled, Blank[registry.PauseForm](v))
}

func (s *Site) pauseTask(v *Visit) (Answer, error) {
	f, filled := Read[registry.PauseForm](v)
	return s.askClock(v, registry.ClockAsk{Kind: registry.Pause, Reason: f.Reason, Until: f.Until}, Blank[registry.MoreTimeForm](v), filled)
}

func (s *Site) resumeTask(v *Visit) (Answer, error) {
	return s.askClock(v, registry.ClockAsk{Kind: registry.Resume}, Blank[registry.MoreTimeForm](v), Blank[registry.PauseForm](v))
}

// askClock asks something of a task's clock and brings it to the desk. What a form got wrong is shown beside it.
func (s *Site) askClock(v *Visit, ask registry.ClockAsk, more, paused *Filled) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	ask.TaskID, ask.Command, ask.Version = id, v.Key(), v.FieldInt("version")
	k, err := s.store.AskClock(v, v.Actor, ask)
	if err == nil {
		k, err = s.cases.CarryOut(v, s.store, k)
	}
	switch {
	case err == nil && k.Status == "waiting":
		return v.To("/work/"+id.String(), "said.work_time_asked"), nil
	case err == nil:
		return v.To("/work/"+id.String(), "said.work_clock_set"), nil
	case registry.CodeOf(err) == "clock_kept":
		return v.To("/work/"+id.String(), "said.work_clock_kept"), nil
	case ask.Kind == registry.MoreTime && more.Takes(err), ask.Kind == registry.Pause && paused.Takes(err):
		return s.showWork(v, id, more, paused)
	}
	return nil, err
}

func (s *Site) saveView(v *Visit) (Answer, error) {
	f := registry.SavedViewForm{Name: v.Field("name"), Default: v.Field("default") != "", Query: registry.SavedQuery{
		Tab: registry.WorkTab(v.Field("tab")), Protocol: registry.Protocol(v.Field("protocol")), Step: v.Field("step"), Region: identity.Region(v.Field("region")), Number: v.Field("number"),
	}}
	kept, err := s.store.SaveView(v, v.Actor, f)
	if err != nil {
		return nil, err
	}
	return v.To(viewPath(kept), "said.work_view_saved"), nil
}

func (s *Site) dropView(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err == nil {
		err = s.store.DropView(v, v.Actor, id)
	}
	if err != nil {
		return nil, err
	}
	return v.To("/work?tab=all", "said.work_view_dropped"), nil
}

func (s *Site) timeRequests(v *Visit) (Answer, error) {
	list, err := s.store.ListClocks(v, v.Actor, v.QueryID("after"), workPage)
	if err != nil {
		return nil, err
	}
	return v.Page("page.time_requests", timeRequestsPage(v, list)), nil
}

func (s *Site) decideTime(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	k, err := s.store.DecideClock(v, v.Actor, id, v.FieldInt("version"), registry.ClockVerdict{Verdict: v.Field("verdict")})
	if err == nil {
		_, err = s.cases.CarryOut(v, s.store, k)
	}
	if err != nil && registry.CodeOf(err) != "clock_kept" {
		return nil, err
	}
	return v.To("/time-requests", "said.work_time_decided"), nil
}
