package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagWait is the one flag whose value may be left out, and given without "=".
const flagWait = "wait"

// arrange puts the words of a command line before its flags, so that flags may stand anywhere: before, between
// and after verb, noun and object. A flag that takes a value takes one in every command (a test holds that).
func arrange(root *cobra.Command, args []string) []string {
	if len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd) {
		// The last word is still being typed; it stays where it is, behind the flag that it may belong to.
		if len(args) < 2 {
			return args
		}
		last := args[len(args)-1]
		return slices.Concat(args[:1], arrange(root, args[1:len(args)-1]), []string{last})
	}
	long, short := valueFlags(root)
	var words, flags, rest []string
	for i := 0; i < len(args); i++ {
		s := args[i]
		if s == "-f" && len(words) > 0 && slices.Contains(fileCommands(), words[0]) {
			s = "--file"
		}
		switch {
		case s == "--":
			rest = args[i:]
			i = len(args)
		case len(s) < 2 || s[0] != '-':
			words = append(words, s)
		case s == "--"+flagWait && i+1 < len(args) && slices.Contains(waitStages(), args[i+1]):
			i++
			flags = append(flags, s+"="+args[i])
		default:
			flags = append(flags, s)
			if i+1 < len(args) && wantsValue(s, long, short) {
				i++
				flags = append(flags, args[i])
			}
		}
	}
	return slices.Concat(words, flags, rest)
}

// wantsValue says that the next argument is the value of the flag s.
func wantsValue(s string, long, short map[string]bool) bool {
	if name, ok := strings.CutPrefix(s, "--"); ok {
		return long[name] // "name=value" is no name
	}
	for i := 1; i < len(s); i++ {
		if short[s[i:i+1]] {
			return i == len(s)-1 // else the rest is the value
		}
	}
	return false
}

// valueFlags returns the names of the flags of all commands that take a value.
func valueFlags(root *cobra.Command) (long, short map[string]bool) {
	long, short = map[string]bool{}, map[string]bool{}
	eachFlag(root, func(_ *cobra.Command, f *pflag.Flag) {
		if f.NoOptDefVal == "" {
			long[f.Name] = true
			if f.Shorthand != "" {
				short[f.Shorthand] = true
			}
		}
	})
	return long, short
}

func eachFlag(cmd *cobra.Command, f func(*cobra.Command, *pflag.Flag)) {
	cmd.PersistentFlags().VisitAll(func(fl *pflag.Flag) { f(cmd, fl) })
	cmd.Flags().VisitAll(func(fl *pflag.Flag) { f(cmd, fl) })
	for _, c := range cmd.Commands() {
		eachFlag(c, f)
	}
}
