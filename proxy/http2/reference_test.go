package http2

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const limit = 64 << 10

func newRand() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// randomValue is a valid field value.
func randomValue(rnd *rand.Rand) string {
	if rnd.IntN(4) > 0 {
		return strings.Repeat(string(rune('a'+rnd.IntN(26))), rnd.IntN(300))
	}
	b := make([]byte, 1+rnd.IntN(40))
	for i := range b {
		if b[i] = byte(33 + rnd.IntN(223)); b[i] == 0x7f {
			b[i] = 'x'
		}
	}
	return string(b)
}

// TestDecode_reference decodes what x/net encodes, over many blocks of one connection.
func TestDecode_reference(t *testing.T) {
	t.Parallel()
	rnd := newRand()
	var buf bytes.Buffer
	e := hpack.NewEncoder(&buf)
	d := NewDecoder(&Scratch{})
	var h Head
	for i := range 20_000 {
		buf.Reset()
		if rnd.IntN(200) == 0 {
			e.SetMaxDynamicTableSize(uint32(rnd.IntN(4097)))
		}
		put := func(name, value string) {
			if err := e.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: rnd.IntN(10) == 0}); err != nil {
				t.Fatal(err)
			}
		}
		path := fmt.Sprintf("/p%d?%x", rnd.IntN(50), rnd.Uint64())
		want := "GET " + path + " HTTP/1.1\r\nHost: a.example\r\n"
		put(":method", "GET")
		put(":scheme", "https")
		put(":path", path)
		put(":authority", "a.example")
		for range rnd.IntN(12) {
			name, value := fmt.Sprintf("x-h%d", rnd.IntN(40)), randomValue(rnd)
			put(name, value)
			want += name + ": " + value + "\r\n"
		}
		h.Reset(limit)
		if !d.Decode(buf.Bytes(), &h) {
			t.Fatalf("block %d is not decoded", i)
		}
		got, v := h.Request(Ended)
		if v != Fine || string(got) != want+"\r\n" {
			t.Fatalf("block %d: verdict %d, head %q, want %q", i, v, got, want)
		}
	}
}

// TestEncode_reference has x/net decode what we encode, over many blocks of one connection.
func TestEncode_reference(t *testing.T) {
	t.Parallel()
	rnd := newRand()
	var got []hpack.HeaderField
	d := hpack.NewDecoder(tableSize, func(f hpack.HeaderField) {
		f.Sensitive = false
		got = append(got, f)
	})
	e := NewEncoder(maphash.MakeSeed())
	var block []byte
	indexed := 0
	for i := range 20_000 {
		if rnd.IntN(300) == 0 {
			n := uint32(rnd.IntN(5000))
			e.SetLimit(n)
			d.SetAllowedMaxDynamicTableSize(min(n, tableSize))
		}
		status := 100 + rnd.IntN(900)
		want := []hpack.HeaderField{{Name: ":status", Value: fmt.Sprint(status)}}
		block = e.Status(e.Begin(block[:0]), status)
		for range rnd.IntN(12) {
			name := fmt.Sprintf("X-H%d", rnd.IntN(30))
			if rnd.IntN(3) == 0 {
				name = []string{"Server", "Date", "Content-Type", "ETag", "Set-Cookie", "content-length"}[rnd.IntN(6)]
			}
			value := strings.Repeat(string(rune('a'+rnd.IntN(3))), rnd.IntN(3)*(1+rnd.IntN(2)*300))
			before := len(block)
			block = e.Field(block, []byte(name), []byte(value))
			if len(block)-before == 1 && value != "" {
				indexed++
			}
			want = append(want, hpack.HeaderField{Name: strings.ToLower(name), Value: value})
		}
		got = got[:0]
		if _, err := d.Write(block); err != nil {
			t.Fatalf("block %d: %v", i, err)
		}
		if err := d.Close(); err != nil {
			t.Fatalf("block %d: %v", i, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("block %d (-want +got):\n%s", i, diff)
		}
	}
	if indexed < 500 {
		t.Errorf("only %d fields took one byte", indexed)
	}
}

// TestHuffman_reference has random strings and garbage judged as x/net does.
func TestHuffman_reference(t *testing.T) {
	t.Parallel()
	rnd := newRand()
	for range 50_000 {
		b := make([]byte, rnd.IntN(60))
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		got, ok := appendDecoded(nil, hpack.AppendHuffmanString(nil, string(b)))
		if !ok || !bytes.Equal(got, b) {
			t.Fatalf("%x is decoded as %x, %t", b, got, ok)
		}
		want, err := hpack.HuffmanDecodeToString(b)
		if got, ok = appendDecoded(nil, b); ok != (err == nil) || ok && string(got) != want {
			t.Fatalf("garbage %x is %x, %t; want %x, %v", b, got, ok, want, err)
		}
	}
}

// TestFrames_reference reads our frames with x/net and x/net's with ours.
func TestFrames_reference(t *testing.T) {
	t.Parallel()
	var out []byte
	out = AppendSettings(out, Setting{MaxConcurrentStreams, 7}, Setting{InitialWindowSize, 1 << 20})
	out = AppendSettingsAck(out)
	out = AppendPing(out, FlagAck, [8]byte{1, 2, 3})
	out = AppendGoAway(out, 5, EnhanceYourCalm)
	out = AppendReset(out, 3, Cancel)
	out = AppendWindowUpdate(out, 0, 99)
	var theirs bytes.Buffer
	f := xhttp2.NewFramer(&theirs, bytes.NewReader(out))
	for range 6 {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch x := frame.(type) {
		case *xhttp2.SettingsFrame:
			if x.IsAck() {
				err = f.WriteSettingsAck()
			} else {
				var list []xhttp2.Setting
				_ = x.ForeachSetting(func(s xhttp2.Setting) error { list = append(list, s); return nil })
				err = f.WriteSettings(list...)
			}
		case *xhttp2.PingFrame:
			err = f.WritePing(x.IsAck(), x.Data)
		case *xhttp2.GoAwayFrame:
			err = f.WriteGoAway(x.LastStreamID, x.ErrCode, nil)
		case *xhttp2.RSTStreamFrame:
			err = f.WriteRSTStream(x.StreamID, x.ErrCode)
		case *xhttp2.WindowUpdateFrame:
			err = f.WriteWindowUpdate(x.StreamID, x.Increment)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(out, theirs.Bytes()) {
		t.Errorf("frames = %x, want %x", out, theirs.Bytes())
	}
}
