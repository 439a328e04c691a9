package enginetest

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"github.com/lbnode/lbnode/internal/certtest"
	"github.com/lbnode/lbnode/state"
)

// GRPC runs grpc-go's client and server through an engine, in clear text and over TLS in front: the interop cases
// of the gRPC project, and what those leave out. Cases named in deviations are left out, for the reason given there.
func GRPC(t *testing.T, mk New, deviations map[string]string) {
	panicOnFatal()
	for _, front := range []string{"h2c", "tls"} {
		t.Run(front, func(t *testing.T) {
			t.Parallel()
			w := newGRPCWorld(t, mk, front == "tls")
			for _, c := range append(interopCases(), ownGRPCCases()...) {
				t.Run(c.name, func(t *testing.T) {
					if why := deviations[c.name]; why != "" {
						t.Skip(why)
					}
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					c.run(ctx, t, w)
				})
			}
		})
	}
}

// grpcWorld is an engine with a gRPC backend, and a client of it.
type grpcWorld struct {
	*world
	cc      *grpc.ClientConn
	tc      testgrpc.TestServiceClient
	service *grpcService
}

type grpcCase struct {
	name string
	run  func(context.Context, *testing.T, *grpcWorld)
}

// newGRPCWorld starts a gRPC server behind an engine; with secure, the client comes over TLS and ALPN.
func newGRPCWorld(t testing.TB, mk New, secure bool) *grpcWorld {
	t.Helper()
	service := &grpcService{TestServiceServer: interop.NewTestServer(), began: make(chan struct{}, 16), ended: make(chan error, 16)}
	set := defaultSettings()
	set.Idle = patience // a call that meets the end of an idle connection is sent again only if it is small
	creds := insecure.NewCredentials()
	if secure {
		ca := certtest.New(t, "grpc")
		cert := ca.Leaf("lb.example").TLS(t)
		set.TLSAddrs = []string{"127.0.0.1:0"}
		set.Certificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }
		creds = credentials.NewTLS(&tls.Config{RootCAs: ca.Pool(), ServerName: "lb.example", MinVersion: tls.VersionTLS12})
	}
	w := newWorldWith(t, mk, set, "", serveGRPC(t, service))
	w.views.Put(state.KindPool, `{"id":"web","algorithm":"round_robin","health":{"type":"none"},"protocol":"h2c"}`)
	w.update()
	addr := w.e.Addrs()[0]
	if secure {
		addr = w.e.TLSAddrs()[0]
	}
	// "passthrough" takes the address as it is, so that a proxy of the environment is not asked either.
	cc, err := grpc.NewClient("passthrough:///"+addr.String(), grpc.WithTransportCredentials(creds),
		grpc.WithAuthority("lb.example"), grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxGRPC), grpc.MaxCallSendMsgSize(maxGRPC)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return &grpcWorld{world: w, cc: cc, tc: testgrpc.NewTestServiceClient(cc), service: service}
}

// maxGRPC is the largest message of the tests.
const maxGRPC = 32 << 20

func serveGRPC(t testing.TB, service testgrpc.TestServiceServer) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(maxGRPC), grpc.MaxSendMsgSize(maxGRPC))
	testgrpc.RegisterTestServiceServer(s, service)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(ln)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return ln.Addr().String()
}

// interopCases are those of the gRPC project's description that need no credentials.
func interopCases() []grpcCase {
	call := func(name string, f func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption)) grpcCase {
		return grpcCase{name, func(ctx context.Context, t *testing.T, w *grpcWorld) {
			interopCall(t, func() { f(ctx, w.tc) })
		}}
	}
	return []grpcCase{
		call("empty_unary", interop.DoEmptyUnaryCall),
		call("large_unary", interop.DoLargeUnaryCall),
		call("client_streaming", interop.DoClientStreaming),
		call("server_streaming", interop.DoServerStreaming),
		call("ping_pong", interop.DoPingPong),
		call("empty_stream", interop.DoEmptyStream),
		call("timeout_on_sleeping_server", interop.DoTimeoutOnSleepingServer),
		call("cancel_after_begin", interop.DoCancelAfterBegin),
		call("cancel_after_first_response", interop.DoCancelAfterFirstResponse),
		call("custom_metadata", interop.DoCustomMetadata),
		call("status_code_and_message", interop.DoStatusCodeAndMessage),
		call("special_status_message", interop.DoSpecialStatusMessage),
		{"unimplemented_method", func(ctx context.Context, t *testing.T, w *grpcWorld) {
			interopCall(t, func() { interop.DoUnimplementedMethod(ctx, w.cc) })
		}},
		{"unimplemented_service", func(ctx context.Context, t *testing.T, w *grpcWorld) {
			interopCall(t, func() { interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(w.cc)) })
		}},
	}
}

// interopCall runs a case of package interop, which ends the process when it fails: see panicOnFatal.
func interopCall(t *testing.T, run func()) {
	t.Helper()
	defer func() {
		if v := recover(); v != nil {
			t.Fatal(v)
		}
	}()
	run()
}

// fatal is what a case of package interop says when it fails.
type fatal string

// panicOnFatal has grpc's logger panic where it would end the process, and say nothing else.
var panicOnFatal = sync.OnceFunc(func() {
	grpclog.SetLoggerV2(fatalLogger{grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard)})
})

type fatalLogger struct{ grpclog.LoggerV2 }

func (fatalLogger) Fatal(args ...any)                 { panic(fatal(fmt.Sprint(args...))) }
func (fatalLogger) Fatalln(args ...any)               { panic(fatal(fmt.Sprintln(args...))) }
func (fatalLogger) Fatalf(format string, args ...any) { panic(fatal(fmt.Sprintf(format, args...))) }

// grpcService is the interop server, and what the own cases need.
type grpcService struct {
	testgrpc.TestServiceServer
	began chan struct{} // a waiting call has begun
	ended chan error    // how the contexts of waiting calls ended
}

// wait blocks until the call's context ends, and tells.
func (s *grpcService) wait(ctx context.Context) error {
	s.began <- struct{}{}
	select {
	case <-ctx.Done():
	case <-time.After(patience):
	}
	err := ctx.Err()
	s.ended <- err
	return err
}
