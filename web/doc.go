// Package web is the workbench: the pages on which coordinators, hospitals, drives, liaison staff, supervisors and auditors work,
// in Chinese and English, rendered by the server.
//
// It guarantees that no page knows a rule or SQL: a handler decodes a form, calls registry or the client of workflows, and shows
// what comes back; that personal text reaches a browser as masks, but for what one act revealed to one person; that no script and no style
// stands in a page (the policy of contents forbids both); that a form sent twice does its work once; and that every page and act is
// listed with what it touches, so that the role walk of the tests meets it.
//
// # How a page is written
//
// One file for each thing that a user does (worklist.go with worklist.templ), never one for a technique. A file has a method of Site
// that registers its pages and acts, and is named in Site.routes:
//
//	func (s *Site) worklistPages() {
//		s.page("GET /work", s.worklist)            // what is looked at
//		s.act("POST /work/{id}/claim", s.claim)    // what is done
//	}
//
// A handler gets a Visit and returns an Answer or an error:
//
//	func (s *Site) worklist(v *Visit) (Answer, error) {
//		lines, err := s.store.Worklist(v, v.Actor, registry.WorkFilter{Tab: v.Query("tab")})
//		if err != nil {
//			return nil, err              // becomes a page, or a box in a part, with the sentence "error.<code>"
//		}
//		return v.Page("page.work", worklistPage(v, lines)), nil
//	}
//
// A Visit is the context of the request, so it is passed where one is wanted. v.ID("id") reads a record of the path, v.Query and
// v.Field what was sent. Answers are v.Page (a whole page in the shell), v.Part (a part that htmx asked for), v.To (a page to go on to,
// with a sentence to show there, "said.<code>"), v.File (a download).
//
// An act is a form that is sent by POST. Its form has a key (the component Form writes it): sent again, it gets the first answer and nothing is
// done twice. What is asked beside a form while it is filled in brings the form's key and changes nothing: it is registered with asks. A form of the register is shown by Fields and read by Read, both from its struct and the tags on it:
//
//	func (s *Site) planDrive(v *Visit) (Answer, error) {
//		f, filled := Read[forms.Drive](v)
//		if filled.Good() {
//			d, err := s.store.PlanDrive(v, v.Actor, f)
//			if err == nil {
//				return v.To("/drives/"+d.ID.String(), "said.drive_planned"), nil
//			}
//			if !filled.Takes(err) { // what is wrong with the form is shown beside its fields
//				return nil, err
//			}
//		}
//		return v.Page("page.drive_plan", drivePlan(v, filled)), nil // 422, with what was typed
//	}
//
// A page works without the script: links are links, forms are forms. htmx is for what is better in place: revealing a field for a minute, mending
// a cell, a preview beside a list, progress. Attributes are htmx 4's (inheritance is explicit: hx-target:inherited); no hx-on, no js: values, no
// filters in triggers, which need eval. A page that must follow what others do has hx-trigger="live from:body": the browser hears it
// a moment after something moved in the register (live.go), and asks again.
//
// # Words
//
// Every sentence is said by v.Say("page.…") and stands in registry/lang/data. Titles of pages are page.*, entries of the menu nav.*, what was done
// said.*, everything else the family of its slice. Codes are worded by v.Word ("Status", "open"); the words that a form offers by v.Choice.
//
// # Looks
//
// assets/app.css has the tokens and the few parts: .card .chips .chip .grid .stack .row .table .badge .bar .steps .notice .empty .masked .split .tabs.
// Use them; a part that is missing is added there for everybody. The parts in parts.templ (Day, Moment, Masked, Badge, Empty, Pager, Tabs, Problem, Section, Dialog) are
// used rather than written again. States are colour and icon and word. A number is tabular. Every control has a name that can be read aloud.
//
// # Tests
//
// world_test.go has newPages: a house with people, the site before it, and a browser without a window (goquery). Each page has a test that reads it
// as the one who uses it and as one who may not, and a line in walk_test.go. Whole days are acted out in Chromium (browser_test.go: newDesk has the register with its
// cases carried, tab signs somebody in, accessible holds a page against WCAG 2.2 AA by axe; a failure leaves a picture). LIFERELAY_AXE names axe.min.js;
// make test fetches it into the cache. screens_test.go has a line for each page that can be looked at, of which make screenshots takes pictures
// (LIFERELAY_SCREENS_ONLY=^drives takes only those whose name it fits).
package web
