package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"
)

// Config is what one agent does. See [Default] for the defaults and the usage texts in options.go.
type Config struct {
	API       []string // addresses of nodes, as client.ParseURLs returns them
	TokenFile string   // holds an lbnode token or a b3scale JWT; "" = the environment's, or none
	Token     string   // its text; never a flag, which every user of the host could read
	JWTSecret string   // file with b3scale's shared secret, to make a JWT of; "" = none
	Ref       string   // who the agent says it is in that JWT
	CAFile    string

	Register   bool   // create the backend where there is none
	Backend    string // id or address; "" = the address that the properties give
	ID         string // of a backend that is created; "" = one is made up
	Pool       string
	Tags       []string
	Weight     int
	LoadFactor float64
	AdminState string // of a backend that is created: init or ready

	Properties  []string // of BigBlueButton, later files override earlier ones
	BBB         Switch   // whether the server is a BigBlueButton server
	Redis       string   // host:port; "" = as the properties say
	LoadURL     string   // of any other service
	LoadAverage bool     // the host's

	Interval     time.Duration // between two reports
	Poll         time.Duration // between two calls of BigBlueButton's getMeetings
	OnStop       OnStop
	DrainTimeout time.Duration // how long a drain may take
	StateDir     string        // for the marker; "" = none is kept

	LogLevel  slog.Level
	LogFormat string
}

// Switch is auto, on or off.
type Switch string

// The switches.
const (
	Auto Switch = "auto"
	On   Switch = "on"
	Off  Switch = "off"
)

// OnStop says what the end of the agent means for the server.
type OnStop string

// What may be done when the agent is told to stop.
const (
	StopDrain    OnStop = "drain"    // the server is drained
	StopShutdown OnStop = "shutdown" // only if the whole system goes down
	StopLeave    OnStop = "leave"    // nothing: the server stays in use
)

const (
	modernProperties = "/usr/share/bbb-web/WEB-INF/classes/bigbluebutton.properties"
	localProperties  = "/etc/bigbluebutton/bbb-web.properties"
	bbbPool          = "bbb"
)

// Default returns the settings of an agent that is told nothing.
func Default() Config {
	return Config{
		API: []string{"http://127.0.0.1:9080"}, Weight: 1, LoadFactor: 1, AdminState: "init",
		Properties: []string{modernProperties, localProperties}, BBB: Auto,
		Interval: 5 * time.Second, Poll: 30 * time.Second, OnStop: StopDrain, DrainTimeout: 10 * time.Minute,
		LogFormat: "text",
	}
}

// Validate returns every setting that cannot work, with the fix.
func (c Config) Validate() error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	need(len(c.API) > 0, "--api must name at least one node")
	need(c.JWTSecret == "" || c.TokenFile == "", "--jwt-secret-file and --token-file exclude each other: the secret makes the token")
	need(len(c.Ref) <= 64, "--ref must be at most 64 bytes, got %d", len(c.Ref))
	need(c.AdminState == "init" || c.AdminState == "ready", "--admin-state %q must be init or ready", c.AdminState)
	need(c.Weight >= 0 && c.Weight <= 1000, "--weight %d must be between 0 and 1000", c.Weight)
	need(c.LoadFactor > 0 && c.LoadFactor <= 1000, "--load-factor %v must be above 0 and at most 1000", c.LoadFactor)
	need(c.BBB == Auto || c.BBB == On || c.BBB == Off, "--bbb %q must be auto, on or off", c.BBB)
	need(c.OnStop == StopDrain || c.OnStop == StopShutdown || c.OnStop == StopLeave, "--on-stop %q must be drain, shutdown or leave", c.OnStop)
	need(c.Interval >= time.Second && c.Interval <= time.Minute, "--interval %s must be between 1s and 1m", c.Interval)
	need(c.Poll >= time.Second && c.Poll <= time.Hour, "--poll %s must be between 1s and 1h", c.Poll)
	need(c.DrainTimeout >= 0, "--drain-timeout %s must not be negative", c.DrainTimeout)
	need(c.LogFormat == "text" || c.LogFormat == "json", "--log-format %q must be text or json", c.LogFormat)
	need(c.LoadURL == "" || !c.LoadAverage, "--load-url and --load-average exclude each other: a server has one load")
	if c.LoadURL != "" {
		u, err := url.Parse(c.LoadURL)
		need(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "", "--load-url %q must be an http or https URL", c.LoadURL)
	}
	if c.BBB == Off {
		need(c.Backend != "", "--backend must say which backend this is, by id or address, where BigBlueButton's properties do not")
	}
	need(!strings.ContainsFunc(c.Token, func(r rune) bool { return r <= ' ' || r >= 0x7f }), "the token must be visible ASCII on one line")
	return errors.Join(errs...)
}
