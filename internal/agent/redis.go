package agent

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

// subscription is where events come from.
type subscription struct {
	Addr, Password string
	Log            *slog.Logger
}

const (
	redisTimeout = 5 * time.Second
	redisQuiet   = 30 * time.Second // without a message, after which the server is asked whether it is there
)

// follow hands over messages until ctx ends, and connects anew when the connection breaks. What is published
// meanwhile is lost; the next poll finds it.
func follow(ctx context.Context, s subscription, message func([]byte)) {
	c := redis.NewClient(&redis.Options{
		Addr: s.Addr, Password: s.Password, Protocol: 2, DisableIdentity: true, MaxRetries: -1,
		DialTimeout: redisTimeout, WriteTimeout: redisTimeout, PoolSize: 1, ContextTimeoutEnabled: true,
	})
	defer c.Close()
	told := false
	for attempt := 0; ctx.Err() == nil; attempt++ {
		err := receive(ctx, c, func(p []byte) {
			if told {
				s.Log.Info("events of BigBlueButton come again", "redis", s.Addr)
				told = false
			}
			attempt = 0
			message(p)
		})
		if ctx.Err() != nil {
			return
		}
		if !told {
			s.Log.Warn("no events of BigBlueButton: only polls count until they come", "redis", s.Addr, "error", err)
			told = true
		}
		if !sleep(ctx, backoff(attempt, rand.Float64())) {
			return
		}
	}
}

// receive subscribes and hands over messages until the connection breaks or ctx ends.
func receive(ctx context.Context, c *redis.Client, message func([]byte)) error {
	sub := c.PSubscribe(ctx, channelPattern)
	defer sub.Close()
	stop := context.AfterFunc(ctx, func() { _ = sub.Close() }) // a read does not look at ctx
	defer stop()
	for pinged := false; ; {
		m, err := sub.ReceiveTimeout(ctx, redisQuiet)
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout() && !pinged && ctx.Err() == nil:
			if err := sub.Ping(ctx); err != nil {
				return err
			}
			pinged = true // the next silence is that of a dead connection
			continue
		case err != nil:
			return err
		}
		pinged = false
		if m, ok := m.(*redis.Message); ok {
			message([]byte(m.Payload))
		}
	}
}
