package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Sequences of ECMA-48 and xterm.
const (
	screenOpen  = "\x1b[?1049h\x1b[?25l" // a screen of its own, without cursor
	screenClose = "\x1b[?25h\x1b[?1049l"
	screenHome  = "\x1b[H"
	lineRest    = "\x1b[K" // wipe to the end of the line
	screenRest  = "\x1b[J"
	styleBold   = "\x1b[1m"
	styleRed    = "\x1b[31m"
	styleYellow = "\x1b[33m"
	styleOff    = "\x1b[0m"
)

// screen draws frames over each other on a terminal, and one below the other elsewhere.
type screen struct {
	w      io.Writer
	fd     int // of the terminal; -1 = none
	colour bool
	last   []string
	drawn  bool
}

// openScreen takes the terminal over, if standard output is one.
func (a *app) openScreen() *screen {
	s := &screen{w: a.stdout, fd: -1, colour: a.env["NO_COLOR"] == ""}
	if f, ok := a.stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) && a.env["TERM"] != "dumb" {
		s.fd = int(f.Fd())
		fmt.Fprint(s.w, screenOpen)
	}
	return s
}

// close gives the terminal back with the last frame on it.
func (s *screen) close() {
	if s.fd < 0 {
		return
	}
	fmt.Fprint(s.w, screenClose)
	for _, l := range s.last {
		fmt.Fprintln(s.w, l)
	}
}

// height is how many lines there are room for; 0 = no bound.
func (s *screen) height() int {
	if s.fd < 0 {
		return 0
	}
	_, h, err := term.GetSize(s.fd)
	if err != nil {
		return 0
	}
	return h
}

func (s *screen) width() int { return columns(s.w) }

// columns is how wide a terminal is; 80 where nobody knows.
func columns(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 80
	}
	n, _, err := term.GetSize(int(f.Fd()))
	if err != nil || n <= 0 {
		return 80
	}
	return n
}

func (s *screen) draw(lines []string) {
	s.last = lines
	if s.fd < 0 {
		if s.drawn {
			fmt.Fprintln(s.w)
		}
		fmt.Fprintln(s.w, strings.Join(lines, "\n"))
		s.drawn = true
		return
	}
	var b strings.Builder
	b.WriteString(screenHome)
	width, height := s.width(), s.height()
	for i, l := range lines {
		if height > 0 && i == height {
			break
		}
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(s.styled(i, cut(l, width)) + lineRest)
	}
	fmt.Fprint(s.w, b.String()+screenRest)
}

// cut keeps a line from being wrapped.
func cut(s string, width int) string {
	r := []rune(s)
	return string(r[:min(len(r), width)])
}

// styled makes heads bold, and rows that need somebody stand out.
func (s *screen) styled(i int, line string) string {
	style := ""
	switch words := strings.Fields(line); {
	case !s.colour || len(words) == 0:
	case i == 0 && words[0] != "Healthy:" && words[0] != "Healthy,", words[0] == "INCOMPLETE:", i == 0 && words[0] == "no":
		style = styleBold + styleRed
	case i == 0, words[0] == "NODE", words[0] == "BACKEND":
		style = styleBold
	case contains(words[1:], "error"), contains(words[1:], "dead"):
		style = styleRed
	case contains(words[1:], "(draining)"), contains(words[1:], "init"), contains(words[1:], "suspect"):
		style = styleYellow
	}
	if style == "" {
		return line
	}
	return style + line + styleOff
}

func contains(words []string, word string) bool {
	for _, w := range words {
		if w == word {
			return true
		}
	}
	return false
}
