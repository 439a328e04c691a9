package main

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// spread is the middle of some measurements and how far they lie apart.
type spread struct{ Median, Min, Max float64 }

// summarize returns the spread of f over the samples. No samples = NaN.
func summarize(samples []sample, f func(sample) float64) spread {
	if len(samples) == 0 {
		return spread{math.NaN(), math.NaN(), math.NaN()}
	}
	x := make([]float64, len(samples))
	for i, s := range samples {
		x[i] = f(s)
	}
	return spread{median(x), slices.Min(x), slices.Max(x)}
}

// median returns the middle value, or the mean of the middle two. No values = NaN.
func median(x []float64) float64 {
	if len(x) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(x))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// short writes a number with three digits that mean something.
func short(x float64) string {
	switch {
	case math.IsNaN(x):
		return "–"
	case math.Abs(x) >= 99.95:
		return thousands(int(math.Round(x)))
	case math.Abs(x) >= 9.995:
		return strconv.FormatFloat(x, 'f', 1, 64)
	default:
		return strconv.FormatFloat(x, 'f', 2, 64)
	}
}

// thousands writes 1234567 as 1,234,567.
func thousands(n int) string {
	s := strconv.Itoa(n)
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}
