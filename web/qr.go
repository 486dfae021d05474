package web

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/boombuler/barcode/qr"

	"github.com/liferelay/liferelay/registry"
)

// qrCode draws a text as a QR code, in SVG: one path, black on white, with the quiet zone of four modules that ISO/IEC 18004 asks for.
func qrCode(text string) (string, error) {
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return "", &registry.Error{Kind: registry.Refused, Code: "request_invalid"}
	}
	const quiet = 4
	size := code.Bounds().Dx()
	var path strings.Builder
	for y := range size {
		for x := range size {
			if r, _, _, _ := code.At(x, y).RGBA(); r == 0 {
				fmt.Fprintf(&path, "M%d %dh1v1h-1z", x+quiet, y+quiet)
			}
		}
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]d %[1]d" width="220" height="220" role="img" aria-label="QR" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h%[1]dv%[1]dH0z"/><path d="%[2]s"/></svg>`,
		size+2*quiet, path.String()), nil
}

// secretOf is the secret within the address that a square holds, in groups that can be typed.
func secretOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	secret := u.Query().Get("secret")
	var groups []string
	for ; len(secret) > 4; secret = secret[4:] {
		groups = append(groups, secret[:4])
	}
	return strings.Join(append(groups, secret), " ")
}
