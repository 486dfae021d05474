package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/liferelay/liferelay/api"
	"github.com/liferelay/liferelay/courier"
	"github.com/liferelay/liferelay/front"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/seal"
	"github.com/liferelay/liferelay/signon"
	"github.com/liferelay/liferelay/web"
	"github.com/liferelay/liferelay/workflows"
)

type serveCmd struct {
	Listen      string   `env:"LIFERELAY_LISTEN" default:"127.0.0.1:8080" help:"Where the API listens."`
	Worker      bool     `help:"Carry the protocols in this process too."`
	Insecure    bool     `name:"insecure-cookies" env:"LIFERELAY_INSECURE_COOKIES" help:"Let browsers send their session over plain HTTP. For loopback only."`
	RequireTOTP []string `name:"require-totp" env:"LIFERELAY_REQUIRE_TOTP" placeholder:"ROLE" help:"Whose sessions need a second factor: all, none, or roles separated by commas. None when left out."`
	Pool        string   `env:"LIFERELAY_POOL" default:"2197" placeholder:"ION" help:"The ION under which other registries know this one's donors: four digits. Inventories name it."`
	Proxies     []string `name:"trusted-proxies" env:"LIFERELAY_TRUSTED_PROXIES" placeholder:"NETWORK" help:"Networks of the proxies before this program, such as 10.0.0.0/8, whose X-Forwarded-For is believed."`
	signOnFlags `prefix:"oidc-" envprefix:"LIFERELAY_OIDC_"`
	currentFlag
	ownerFlag
}

// signOnFlags say where the provider of single sign-on is.
type signOnFlags struct {
	Issuer           string `env:"ISSUER" placeholder:"URL" help:"The provider of single sign-on (OpenID Connect), if there is one."`
	ClientID         string `env:"CLIENT_ID" placeholder:"ID" help:"What the provider knows this installation by."`
	ClientSecretFile string `env:"CLIENT_SECRET_FILE" type:"path" placeholder:"FILE" help:"A file with the client's secret, readable by nobody else."`
	RedirectURL      string `env:"REDIRECT_URL" placeholder:"URL" help:"Where the provider leads browsers back to: https://…/v1/sso/callback."`
	Link             string `env:"LINK" enum:"none,email,username" default:"none" help:"How somebody gets an account linked at the first sign-in: ${enum}. None is by an administrator."`
}

// provider makes the provider of the settings, nothing when there is none.
func (f signOnFlags) provider() (*signon.Provider, error) {
	if f.Issuer == "" {
		return nil, nil //nolint:nilnil // no provider is no mistake
	}
	c := signon.Config{Issuer: f.Issuer, ClientID: f.ClientID, RedirectURL: f.RedirectURL, LinkBy: signon.Link(f.Link)}
	if f.ClientSecretFile != "" {
		var err error
		if c.ClientSecret, err = secretFile("LIFERELAY_OIDC_CLIENT_SECRET_FILE (--oidc-client-secret-file)", f.ClientSecretFile); err != nil {
			return nil, err
		}
	}
	if c.ClientID == "" || c.RedirectURL == "" {
		return nil, configError{setting: "LIFERELAY_OIDC_CLIENT_ID (--oidc-client-id), LIFERELAY_OIDC_REDIRECT_URL (--oidc-redirect-url)", says: "cli.signon_incomplete"}
	}
	return signon.New(c, nil), nil
}

// factors reads whose sessions need a second factor.
func (c *serveCmd) factors() ([]string, error) {
	if slices.Equal(c.RequireTOTP, []string{"none"}) {
		return nil, nil
	}
	for _, role := range c.RequireTOTP {
		if role != "all" && !slices.Contains(policy.Roles(), policy.Role(role)) {
			return nil, configError{setting: "LIFERELAY_REQUIRE_TOTP (--require-totp)", says: "cli.not_a_role"}
		}
	}
	return c.RequireTOTP, nil
}

func (c *serveCmd) proxies() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range c.Proxies {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, configError{setting: "LIFERELAY_TRUSTED_PROXIES (--trusted-proxies)", says: "cli.not_a_network"}
		}
		out = append(out, p)
	}
	return out, nil
}

type workerCmd struct {
	currentFlag
	ownerFlag
}

// ownerFlag lets a process serve as the owner of the tables, whom the second wall does not hold.
type ownerFlag struct {
	AllowOwner bool `env:"LIFERELAY_ALLOW_OWNER" help:"Sign in to the database as the owner of its tables: the second wall can then be stepped around. For trials only."`
}

// currentFlag says whether this program's version of the protocols becomes the current one.
type currentFlag struct {
	MakeCurrent bool `env:"LIFERELAY_MAKE_CURRENT" default:"true" negatable:"" help:"Make this program's version of the protocols the current one: cases start under it and go over to it. Without it a roll-out sets it by hand."`
}

// service is what a process that serves or works is made of.
type service struct {
	store   *registry.Store
	cases   *workflows.Client
	courier *courier.Courier
	log     *zap.Logger
	keys    *seal.Keyring
	queue   string
	tasks   sync.WaitGroup
}

func (g *globals) service(ctx context.Context, owner ownerFlag) (*service, error) {
	log, err := g.logger()
	if err != nil {
		return nil, err
	}
	s := &service{log: log, queue: g.TaskQueue}
	if s.courier, err = g.Outside.courier(); err != nil {
		return nil, err
	}
	g.Channels = s.courier.Channels()
	if s.store, s.keys, err = g.open(ctx, log); err != nil {
		return nil, err
	}
	switch alone, err := s.store.OwnsNothing(ctx); {
	case err != nil:
		s.store.Close()
		return nil, g.away(err)
	case !alone && !owner.AllowOwner:
		s.store.Close()
		return nil, configError{setting: databaseSetting, says: "cli.owner_serves"}
	case !alone:
		log.Warn("the database is signed in to as the owner of its tables: the second wall can be stepped around")
	}
	if s.cases, err = g.dial(s.keys, log); err != nil {
		s.store.Close()
		return nil, err
	}
	log.Info("starting", zap.String("version", workflows.BuildVersion()), zap.String("policy", policy.Fingerprint()), zap.String("keyring", s.keys.Fingerprint()))
	return s, nil
}

func (s *service) close() {
	s.tasks.Wait()
	s.cases.Close()
	s.store.Close()
	_ = s.log.Sync()
}

// background delivers facts, carries notices out and seals the audit until ctx ends. Every process of the product does it; each row is one
// process's at a time.
func (s *service) background(ctx context.Context, worker bool) {
	relay := &workflows.Relay{Store: s.store, Client: s.cases, Log: s.log.Named("relay")}
	s.tasks.Go(func() { relay.Run(ctx) })
	s.courier.Store, s.courier.Log = s.store, s.log.Named("courier")
	s.tasks.Go(func() { s.courier.Run(ctx) })
	s.tasks.Go(func() { workflows.Housekeeping(ctx, s.store, s.log.Named("housekeeping")) })
	s.tasks.Go(func() {
		s.store.KeepDonors(ctx, worker, func(err error) { s.log.Named("matching").Warn("donors cannot be followed", zap.Error(err)) })
	})
}

// deploymentOf names the versions of the protocols of one installation. Two installations may share a Temporal server, each
// with a task queue of its own, and then neither's versions are the other's.
func deploymentOf(queue string) string {
	return strings.NewReplacer(":", "-", ".", "-").Replace(queue) // which Temporal keeps for itself
}

// work carries the protocols until ctx ends. It waits for a Temporal server that does not answer yet.
func (s *service) work(ctx context.Context, makeCurrent bool) error {
	options := workflows.WorkerOptions{Deployment: deploymentOf(s.queue)}
	worker := workflows.NewWorker(s.cases, s.store, options)
	for {
		err := worker.Start()
		if err == nil {
			break
		}
		s.log.Warn("the Temporal server does not answer yet", zap.Error(err))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
		worker = workflows.NewWorker(s.cases, s.store, options) // a worker that failed to start cannot start again
	}
	defer worker.Stop()
	if makeCurrent {
		if err := worker.MakeCurrent(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		s.log.Info("protocols are current", zap.String("version", worker.Version()))
	}
	<-ctx.Done()
	return nil
}

// Run implements liferelay worker.
func (c *workerCmd) Run(ctx context.Context, g *globals) error {
	s, err := g.service(ctx, c.ownerFlag)
	if err != nil {
		return err
	}
	defer s.close()
	s.background(ctx, true)
	return s.work(ctx, c.MakeCurrent)
}

// Run implements liferelay serve. When it is told to stop it first answers the requests that it has: those that decide
// need the worker and the relay, which therefore go on until then.
func (c *serveCmd) Run(ctx context.Context, g *globals) error {
	var err error
	front.CollectRarely()
	g.Pool = c.Pool
	if g.RequireFactor, err = c.factors(); err != nil {
		return err
	}
	proxies, err := c.proxies()
	if err != nil {
		return err
	}
	s, err := g.service(ctx, c.ownerFlag)
	if err != nil {
		return err
	}
	defer s.close()
	provider, err := c.provider()
	if err != nil {
		return err
	}
	behind, done := context.WithCancel(context.WithoutCancel(ctx))
	defer done() // before close: what runs behind the API ends first
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return configError{setting: "LIFERELAY_LISTEN (--listen)", says: err.Error()}
	}
	s.background(behind, c.Worker)
	failed := make(chan error, 2)
	if c.Worker {
		s.tasks.Go(func() {
			if err := s.work(behind, c.MakeCurrent); err != nil {
				failed <- err
			}
		})
	}
	entrance := front.New(front.Config{Store: s.store, Log: s.log.Named("http"), InsecureCookies: c.Insecure, TrustedProxies: proxies})
	site := web.New(web.Config{
		Store: s.store, Cases: s.cases, Front: entrance, Log: s.log.Named("web"), Version: workflows.BuildVersion(), SignOn: provider, PublicURL: s.courier.Public, Scopes: api.Scopes(),
	})
	s.tasks.Go(func() { site.Keep(behind) })
	server := &http.Server{
		Handler: rooms(api.New(api.Config{
			Store: s.store, Cases: s.cases, Front: entrance, Log: s.log.Named("api"), Version: workflows.BuildVersion(), SignOn: provider,
		}), site.Handler()),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 2 * time.Minute, WriteTimeout: 5 * time.Minute, IdleTimeout: 2 * time.Minute,
		ErrorLog: zap.NewStdLog(s.log.Named("http")),
	}
	go func() { failed <- server.Serve(listener) }()
	g.tell("cli.serving", map[string]any{"Address": listener.Addr().String()})
	select {
	case err := <-failed:
		if !errors.Is(err, http.ErrServerClosed) {
			return err
		}
	case <-ctx.Done():
	}
	s.log.Info("stopping")
	graceful, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return server.Shutdown(graceful)
}

// rooms leads each request to the API or to the pages.
func rooms(api, pages http.Handler) http.Handler {
	mux := http.NewServeMux()
	for _, path := range []string{"/v1/", "/docs", "/docs.css", "/openapi.json", "/livez", "/readyz", "/metrics"} {
		mux.Handle(path, api)
	}
	mux.Handle("/", pages)
	return mux
}
