package main

import (
	"strings"
	"unicode/utf8"
)

// table is rows of text under a head. It prints as Markdown that is also readable as it stands.
type table struct {
	head []string
	rows [][]string
}

// String returns the table with columns of even width, the first one left, the others right aligned.
func (t table) String() string {
	width := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, s := range row {
			width[i] = max(width[i], utf8.RuneCountInString(s), 3)
		}
	}
	var b strings.Builder
	line := func(row []string) {
		for i, s := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(s))
			if i == 0 {
				b.WriteString("| " + s + pad)
			} else {
				b.WriteString(" | " + pad + s)
			}
		}
		b.WriteString(" |\n")
	}
	line(t.head)
	for i, w := range width {
		if i == 0 {
			b.WriteString("|" + strings.Repeat("-", w+2))
		} else {
			b.WriteString("|" + strings.Repeat("-", w+1) + ":")
		}
	}
	b.WriteString("|\n")
	for _, row := range t.rows {
		line(row)
	}
	return b.String()
}
