package demo

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"time"
)

// runBackend is `lbnode demo backend`: a sample server that says its name.
func runBackend(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("lbnode demo backend", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	addr := fs.String("addr", "127.0.0.1:9001", "where to listen")
	name := fs.String("name", "backend", "what to call itself")
	if err := fs.Parse(args); err != nil {
		return err
	}
	srv := &http.Server{Addr: *addr, ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Backend", *name)
		fmt.Fprintf(w, "{\"backend\":%q,\"path\":%q,\"client\":%q}\n", *name, r.URL.Path, r.Header.Get("X-Forwarded-For"))
	})}
	defer context.AfterFunc(ctx, func() { srv.Close() })()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
