package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
)

func (a *app) showMeetingsCmd() *cobra.Command {
	var frontend, backend string
	cmd := &cobra.Command{
		Use: "meetings [ID...]", Aliases: []string{"meeting"}, Short: "Show the meetings on BigBlueButton servers, or those that are named", Args: cobra.ArbitraryArgs,
		Long: `Show meetings: all, those of a tenant or on a server, or those that are named by the tenant's id, the server's, or
the internal one.

  lbctl show meetings --backend bbb2
  lbctl show meeting room-1 --frontend uni`,
	}
	meetingFlags(cmd, &frontend, &backend)
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		query := meetingQuery(frontend, backend)
		if len(ids) == 0 {
			resp, err := a.get(cmd.Context(), "/meetings", query)
			if err != nil {
				return err
			}
			return a.printMeetings(resp)
		}
		if backend != "" {
			return usagef("%s: --backend filters the list; it makes no sense with %s", cmd.CommandPath(), ids[0])
		}
		return each(ids, func(id string) error {
			resp, err := a.get(cmd.Context(), client.Path("meetings", id), query)
			if err != nil {
				return err
			}
			return a.describeMeeting(resp)
		})
	}
	return cmd
}

func meetingFlags(cmd *cobra.Command, frontend, backend *string) {
	cmd.Flags().StringVar(frontend, "frontend", "", "only those of this tenant, by id or key")
	cmd.Flags().StringVar(backend, "backend", "", "only those on this server, by id or address")
}

func meetingQuery(frontend, backend string) url.Values {
	q := url.Values{}
	if frontend != "" {
		q.Set("frontend", frontend)
	}
	if backend != "" {
		q.Set("backend", backend)
	}
	return q
}

func (a *app) printMeetings(resp *client.Response) error {
	all, err := client.Decode[[]api.Meeting](resp)
	if err != nil {
		return err
	}
	a.noteStale(resp)
	switch a.output {
	case formatJSON, formatYAML:
		return a.emitDocument(resp.Body)
	case formatName:
		for _, m := range all {
			fmt.Fprintln(a.stdout, clean(m.ID))
		}
		return nil
	}
	if len(all) == 0 {
		a.notef("there are no meetings")
		return nil
	}
	printTable(a.stdout, []column[api.Meeting]{
		{head: "MEETING", cell: func(m api.Meeting) string { return m.ID }},
		{head: "FRONTEND", cell: func(m api.Meeting) string { return m.Frontend }},
		{head: "BACKEND", cell: func(m api.Meeting) string { return m.Backend }},
		{head: "STATE", cell: meetingState},
		{head: "ATTENDEES", cell: func(m api.Meeting) string { return strconv.Itoa(m.Attendees) }},
		{head: "CREATED", cell: func(m api.Meeting) string { return a.ago(m.Created) }},
		{head: "NAME", cell: func(m api.Meeting) string { return m.Name }},
		{head: "INTERNAL", cell: func(m api.Meeting) string { return m.InternalID }, wide: true},
		{head: "ON SERVER", cell: func(m api.Meeting) string { return m.ServerID }, wide: true},
	}, all, a.output == formatWide)
	return nil
}

// meetingState tells a meeting that waits for its first attendee from one that runs.
func meetingState(m api.Meeting) string {
	if m.Running {
		return "running"
	}
	return m.State
}

func (a *app) describeMeeting(resp *client.Response) error {
	m, err := client.Decode[api.Meeting](resp)
	if err != nil {
		return err
	}
	a.noteStale(resp)
	switch a.output {
	case formatJSON, formatYAML:
		return a.emitDocument(resp.Body)
	case formatName:
		fmt.Fprintln(a.stdout, clean(m.ID))
		return nil
	}
	printFacts(a.stdout, []fact{
		{"Meeting", m.ID},
		{"Name", firstOf(m.Name, "-")},
		{"Frontend", m.Frontend},
		{"Backend", m.Backend},
		{"State", meetingState(m) + ", created " + a.ago(m.Created)},
		{"Attendees", fmt.Sprintf("%d, of whom %d are moderators", m.Attendees, m.Moderators)},
		{"Recording", yesNo(m.Recording)},
		{"On server", m.ServerID},
		{"Internal id", firstOf(m.InternalID, "-")},
	})
	return nil
}

func (a *app) endCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "end", Short: "End meetings on BigBlueButton servers", Args: cobra.ArbitraryArgs, RunE: group}
	cmd.AddCommand(a.endMeetingCmd(), a.endMeetingsCmd())
	return cmd
}

func (a *app) endMeetingCmd() *cobra.Command {
	var frontend string
	cmd := &cobra.Command{Use: "meeting ID...", Short: "End meetings, by the tenant's id, the server's, or the internal one", Args: wantArgs(1, -1, "ID")}
	cmd.Flags().StringVar(&frontend, "frontend", "", "tenant whose meeting it is, by id or key: where several have one of this id")
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		if err := a.oneRequest(ids); err != nil {
			return err
		}
		return each(ids, func(id string) error {
			out, err := a.end(cmd.Context(), client.Path("meetings", id), meetingQuery(frontend, ""))
			switch {
			case err != nil:
				return err
			case out.Later > 0:
				a.notef("meeting %s is forgotten; its server does not answer (%s), and ends it once it does", clean(id), clean(out.Error))
				return errIncomplete
			}
			fmt.Fprintf(a.stdout, "ended meeting: %s\n", clean(id))
			return nil
		})
	}
	return cmd
}

func (a *app) endMeetingsCmd() *cobra.Command {
	var frontend, backend string
	cmd := &cobra.Command{
		Use: "meetings [BACKEND]", Short: "End all meetings on a server, of a tenant, or both", Args: wantArgs(0, 1, "BACKEND"),
		Long: `End all meetings on a server, of a tenant, or of a tenant on a server. Their people are sent away.

  lbctl end meetings --backend bbb2
  lbctl end meetings --frontend uni`,
	}
	meetingFlags(cmd, &frontend, &backend)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) > 0 && backend != "":
			return usagef("%s: the backend is given twice: %q and %q", cmd.CommandPath(), args[0], backend)
		case len(args) > 0:
			backend = args[0]
		}
		if backend == "" && frontend == "" {
			return usagef("%s needs --backend or --frontend: whose meetings are to end", cmd.CommandPath())
		}
		out, err := a.end(cmd.Context(), "/meetings", meetingQuery(frontend, backend))
		switch {
		case err != nil:
			return err
		case out.Later > 0:
			a.notef("%s ended, and %d forgotten: their servers do not answer (%s), and end them once they do", count(out.Ended, "meeting"), out.Later, clean(out.Error))
			return errIncomplete
		case out.Ended == 0:
			fmt.Fprintln(a.stdout, "no changes: there are no such meetings")
			return errUnchanged
		}
		fmt.Fprintf(a.stdout, "ended %s\n", count(out.Ended, "meeting"))
		return nil
	}
	return cmd
}

func (a *app) end(ctx context.Context, path string, query url.Values) (out api.MeetingsEnded, err error) {
	resp, err := a.do(ctx, client.Request{Method: http.MethodDelete, Path: path, Query: query})
	if err != nil {
		return out, err
	}
	return client.Decode[api.MeetingsEnded](resp)
}
