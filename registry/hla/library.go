package hla

import "slices"

// Library holds releases side by side, the newest being current, and a table of codes. The zero Library is empty: its readers look nothing up.
// A Library does not change, so any number may read by it at a time.
type Library struct {
	releases []*Release // the newest first
	codes    *Codes
}

// NewLibrary makes a library of releases; of two of one version the later counts. The table of codes may be nil.
func NewLibrary(codes *Codes, releases ...*Release) *Library {
	l := &Library{codes: codes}
	for _, r := range releases {
		l.releases = slices.DeleteFunc(l.releases, func(other *Release) bool { return other.version == r.version })
		l.releases = append(l.releases, r)
	}
	slices.SortFunc(l.releases, func(a, b *Release) int { return compareVersions(b.version, a.version) })
	return l
}

// Current is the newest release, nil when there is none.
func (l *Library) Current() *Release {
	if l == nil || len(l.releases) == 0 {
		return nil
	}
	return l.releases[0]
}

// Codes is the table of codes, nil when there is none.
func (l *Library) Codes() *Codes {
	if l == nil {
		return nil
	}
	return l.codes
}

// With is the library with another table of codes.
func (l *Library) With(codes *Codes) *Library {
	if l == nil {
		l = &Library{}
	}
	return &Library{l.releases, codes}
}

// Release is the release of a version, nil when it is not here.
func (l *Library) Release(version string) *Release {
	if l != nil {
		for _, r := range l.releases {
			if r.version == version {
				return r
			}
		}
	}
	return nil
}

// Versions lists the versions of the releases, the newest first.
func (l *Library) Versions() []string {
	var out []string
	if l != nil {
		for _, r := range l.releases {
			out = append(out, r.version)
		}
	}
	return out
}

// Reader reads typings made under a version: names by the current release, and those that it has no more by the release of that version,
// where it is here; the copies that it gives say so (Copy.Former). Of a GL String Code the version in it counts. The version may be empty,
// or a date: then there is no other release than the current one.
func (l *Library) Reader(version string) Reader {
	by := Reader{Release: l.Current(), Codes: l.Codes(), library: l}
	if r := l.Release(version); r != by.Release {
		by.Former = r
	}
	return by
}

// under is the reader for a GL String Code of a version.
func (by Reader) under(version string) Reader {
	if by.library == nil {
		return by
	}
	other := by.library.Reader(version)
	other.explaining = by.explaining
	return other
}
