package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func names(pairs ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

func TestTheLifeOfACodeIsReadFromTheDatedTables(t *testing.T) {
	dated := []table{
		{2002, names("110000", "北京市", "110100", "市辖区", "110103", "崇文区", "420600", "襄樊市", "810000", "香港特别行政区", "810001", "中西区", "110200", "县", "110228", "密云县")},
		{2003, names("110000", "北京市", "110100", "市辖区", "110103", "崇文区", "110115", "大兴区", "420600", "襄樊市")},
		{2020, names("110000", "北京市", "420600", "襄阳市", "110118", "密云区", "710000", "台湾省")},
		{2026, names("110000", "北京市", "110115", "大兴区", "420600", "襄阳市", "110118", "密云区", "830000", "台湾省")},
	}
	var out bytes.Buffer
	require.NoError(t, write(&out, merge(dated, table{0, names("110110", "燕山区", "110103", "崇文区")})))
	require.Equal(t, `code,name,from,until,former
000000,全国,,,中国|中华人民共和国
110000,北京市,,,
110100,市辖区,,,
110103,崇文区,,2020,
110110,燕山区,,2002,
110115,大兴区,2003,,
110118,密云区,,,
110200,县,,2003,
110228,密云县,,2003,
420600,襄阳市,,,襄樊市
710000,台湾省,,,
810000,香港特别行政区,,2003,
`, out.String())
}

func TestASeatsNameIsTakenFromTheTableThatHasIt(t *testing.T) {
	card := table{0, names("142201", "市辖区", "320106", "鼓楼区")}
	correct(card, table{0, names("142201", "忻州市", "320106", "南京市鼓楼区", "450111", "市郊区")})
	require.Equal(t, names("142201", "忻州市", "320106", "鼓楼区", "450111", "市郊区"), card.names)
}

func TestARowThatIsNoRegionIsRefused(t *testing.T) {
	for code, name := range map[string]string{"1101": "北京市", "11010A": "北京市", "110101": "Beijing", "110102": ""} {
		require.Error(t, table{0, names()}.add(code, name), code)
	}
}
