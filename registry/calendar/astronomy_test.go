package calendar

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The lunar calendar worked out from sun and moon (J. Meeus, Astronomical Algorithms, 2nd edition, chapters 25 and 49; rules of
// GB/T 33661-2017): an independent check of the dates in cn-provisional.yaml. Instants are Julian days in terrestrial time.

func sin(degrees float64) float64 { return math.Sin(degrees * math.Pi / 180) }

// newMoon is the kth new moon after that of 6 January 2000, right to some 20 seconds.
func newMoon(k int) float64 {
	n := float64(k)
	t := n / 1236.85
	e := 1 - 0.002516*t - 0.0000074*t*t
	m := 2.5534 + 29.10535670*n - 0.0000014*t*t - 0.00000011*t*t*t
	p := 201.5643 + 385.81693528*n + 0.0107582*t*t + 0.00001238*t*t*t - 0.000000058*t*t*t*t
	f := 160.7108 + 390.67050284*n - 0.0016118*t*t - 0.00000227*t*t*t + 0.000000011*t*t*t*t
	o := 124.7746 - 1.56375588*n + 0.0020672*t*t + 0.00000215*t*t*t
	jde := 2451550.09766 + 29.530588861*n + 0.00015437*t*t - 0.000000150*t*t*t + 0.00000000073*t*t*t*t
	jde += -0.40720*sin(p) + 0.17241*e*sin(m) + 0.01608*sin(2*p) + 0.01039*sin(2*f) + 0.00739*e*sin(p-m) -
		0.00514*e*sin(p+m) + 0.00208*e*e*sin(2*m) - 0.00111*sin(p-2*f) - 0.00057*sin(p+2*f) + 0.00056*e*sin(2*p+m) -
		0.00042*sin(3*p) + 0.00042*e*sin(m+2*f) + 0.00038*e*sin(m-2*f) - 0.00024*e*sin(2*p-m) - 0.00017*sin(o) -
		0.00007*sin(p+2*m) + 0.00004*sin(2*p-2*f) + 0.00004*sin(3*m) + 0.00003*sin(p+m-2*f) + 0.00003*sin(2*p+2*f) -
		0.00003*sin(p+m+2*f) + 0.00003*sin(p-m+2*f) - 0.00002*sin(p-m-2*f) - 0.00002*sin(3*p+m) + 0.00002*sin(4*p)
	for _, a := range [][3]float64{
		{299.77, 0.107408, 0.000325}, {251.88, 0.016321, 0.000165}, {251.83, 26.651886, 0.000164}, {349.42, 36.412478, 0.000126},
		{84.66, 18.206239, 0.000110}, {141.74, 53.303771, 0.000062}, {207.14, 2.453732, 0.000060}, {154.84, 7.306860, 0.000056},
		{34.52, 27.261239, 0.000047}, {207.19, 0.121824, 0.000042}, {291.34, 1.844379, 0.000040}, {161.72, 24.198154, 0.000037},
		{239.56, 25.513099, 0.000035}, {331.55, 3.592518, 0.000023},
	} {
		jde += a[2] * sin(a[0]+a[1]*n)
	}
	return jde
}

// sun is the sun's apparent longitude in degrees, right to 0.01: a quarter of an hour.
func sun(jde float64) float64 {
	t := (jde - 2451545) / 36525
	m := 357.52911 + 35999.05029*t - 0.0001537*t*t
	l := 280.46646 + 36000.76983*t + 0.0003032*t*t +
		(1.914602-0.004817*t-0.000014*t*t)*sin(m) + (0.019993-0.000101*t)*sin(2*m) + 0.000289*sin(3*m) -
		0.00569 - 0.00478*sin(125.04-1934.136*t)
	return math.Mod(math.Mod(l, 360)+360, 360)
}

// solarTerm is the instant after jde when the sun reaches a longitude.
func solarTerm(jde, longitude float64) float64 {
	jde += math.Mod(longitude-sun(jde)+720, 360) / 360 * 365.2422
	for range 20 {
		jde += (math.Mod(longitude-sun(jde)+900, 360) - 180) / 360 * 365.2422
	}
	return jde
}

// beijing is the day in UTC+8, and how many minutes the instant is away from the nearest midnight there.
func beijing(jde float64) (Date, float64) {
	const ttMinusUT = 70.0 / 86400 // measured 69 s in 2020-2025, and nearly constant
	local := jde + 0.5 + 8.0/24 - ttMinusUT
	whole := math.Floor(local)
	return Date{int32(whole) - 1721425}, math.Min(local-whole, whole+1-local) * 1440
}

func TestTheAstronomyAgreesWithTheBooksExamples(t *testing.T) {
	require.InDelta(t, 2443192.65118, newMoon(-283), 0.00001)
	require.InDelta(t, 199.90895, sun(2448908.5), 0.0001)
}

// lunarYear gives the first day of every month of the Chinese year that begins in a Gregorian year, by month number.
func lunarYear(t *testing.T, year int) map[int]Date {
	january := float64(Must(year, time.January, 1).n) + 1721424.5
	type month struct {
		first Date
		mid   bool // holds one of the twelve mid-month solar terms
	}
	// The terms at 270 (winter solstice), 300, 330 … for two years from the solstice before.
	var terms []Date
	at := solarTerm(january-30, 270)
	for i := range 25 {
		if i > 0 {
			at = solarTerm(at+20, math.Mod(270+30*float64(i), 360))
		}
		d, _ := beijing(at)
		terms = append(terms, d)
	}
	k := int((january-2451550.1)/29.530588861) - 3
	var months []month
	for ; len(months) < 30; k++ {
		first, margin := beijing(newMoon(k))
		require.Greater(t, margin, 1.0, "a new moon too near midnight to judge: %s", first)
		next, _ := beijing(newMoon(k + 1))
		mid := false
		for _, d := range terms {
			mid = mid || (!d.Before(first) && d.Before(next))
		}
		months = append(months, month{first, mid})
	}
	// The month that holds the winter solstice is the eleventh; of thirteen from one to the next, the first without a
	// mid-month term repeats the number before it.
	eleventh := func(solstice Date) int {
		for i := len(months) - 1; ; i-- {
			if !months[i].first.After(solstice) {
				return i
			}
		}
	}
	starts := map[int]Date{}
	number := 11
	for _, span := range [][2]int{{eleventh(terms[0]), eleventh(terms[12])}, {eleventh(terms[12]), eleventh(terms[24])}} {
		leap := span[1]-span[0] == 13
		for i := span[0]; i < span[1]; i++ {
			if i > span[0] {
				if leap && !months[i].mid {
					leap = false
					continue
				}
				number = number%12 + 1
			}
			if months[i].first.Year() == year && (number != 11 && number != 12 || months[i].first.Month() > 6) {
				starts[number] = months[i].first
			}
		}
		number = 11
	}
	return starts
}

func TestTheProvisionalDatesFollowSunAndMoon(t *testing.T) {
	c := china(t)
	at := func(t *testing.T, name string, d Date) {
		row, ok := c.Lookup(d)
		require.True(t, ok, "%s should be on %s", name, d)
		require.Contains(t, row.Name, name)
	}
	for year := 2027; year <= 2040; year++ {
		t.Run(fmt.Sprint(year), func(t *testing.T) {
			months := lunarYear(t, year)
			at(t, "除夕", months[1].AddDays(-1))
			for i := range 3 {
				at(t, "春节", months[1].AddDays(i))
			}
			at(t, "端午节", months[5].AddDays(4))
			at(t, "中秋节", months[8].AddDays(14))
			qingming, margin := beijing(solarTerm(float64(Must(year, time.March, 25).n)+1721424.5, 15))
			require.Greater(t, margin, 20.0, "Qingming too near midnight to judge")
			at(t, "清明节", qingming)
			at(t, "元旦", Must(year, 1, 1))
			at(t, "劳动节", Must(year, 5, 1))
			at(t, "劳动节", Must(year, 5, 2))
			for i := range 3 {
				at(t, "国庆节", Must(year, 10, 1+i))
			}
		})
	}
}

func TestTheSameReckoningGivesThePublishedYears(t *testing.T) {
	// Known days: lunar New Year 2025-01-29 and 2026-02-17, Dragon Boat 2025-05-31 and 2026-06-19, Mid-Autumn 2025-10-06 and
	// 2026-09-25; 2033 is the year whose leap month comes after the eleventh.
	for year, want := range map[int][3]string{
		2025: {"2025-01-29", "2025-05-31", "2025-10-06"},
		2026: {"2026-02-17", "2026-06-19", "2026-09-25"},
		2033: {"2033-01-31", "2033-06-01", "2033-09-08"},
	} {
		months := lunarYear(t, year)
		require.Equal(t, want, [3]string{months[1].String(), months[5].AddDays(4).String(), months[8].AddDays(14).String()})
	}
}
