package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/headers"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/membership/static"
	_ "go.temporal.io/server/common/persistence/sql/sqlplugin/postgresql" // the plugin registers itself
	"go.temporal.io/server/common/primitives"
	"go.temporal.io/server/temporal"
	"go.temporal.io/server/tools/sql"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	temporalVersion    = headers.ServerVersion
	temporalDatabase   = "temporal"
	visibilityDatabase = "temporal_visibility"
	sqlPlugin          = "postgres12_pgx"
	namespace          = "default"
	retention          = 30 * 24 * time.Hour
	// historyShards is fixed for the life of a data folder; four keep a small machine's caches warm.
	historyShards = 4
)

// temporalServer is the four services of a Temporal server in this process.
type temporalServer struct {
	server temporal.Server
	port   int
}

func (t *temporalServer) address() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(t.port))
}

func startTemporal(ctx context.Context, s *stack, port int) (*temporalServer, error) {
	if err := applySchema(ctx, s); err != nil {
		return nil, err
	}
	if port != 0 {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return nil, fmt.Errorf("Temporal cannot listen on port %d, the port is taken: free it or name another with --temporal-port", port)
		}
		_ = l.Close()
	}
	services := []primitives.ServiceName{primitives.FrontendService, primitives.HistoryService, primitives.MatchingService, primitives.WorkerService}
	ports, err := freePorts(len(services) + 1) // and one for the frontend's HTTP face
	if err != nil {
		return nil, err
	}
	if port != 0 {
		ports[0] = port
	}
	cfg := serverConfig(s, services, ports)
	hosts := map[primitives.ServiceName]static.Hosts{}
	for i, name := range services {
		self := net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[i]))
		hosts[name] = static.SingleLocalHost(self)
	}
	logger := log.NewZapLogger(log.BuildZapLogger(log.Config{
		Level: "warn", OutputFile: filepath.Join(s.logs(), "temporal.log"), Format: "json",
	}))
	server, err := temporal.NewServer(
		temporal.WithConfig(cfg),
		temporal.ForServices(temporal.DefaultServices),
		temporal.WithStaticHosts(hosts),
		temporal.WithLogger(logger),
		temporal.WithAuthorizer(authorization.NewNoopAuthorizer()),
		temporal.WithClaimMapper(func(*config.Config) authorization.ClaimMapper { return authorization.NewNoopClaimMapper() }),
		temporal.WithDynamicConfigClient(dynamicconfig.StaticClient{
			// Ten years of follow-up pass in seconds when a test or the demo asks for it; nobody else can be surprised,
			// because a workflow skips time only when told to, one by one.
			dynamicconfig.WorkflowTimeSkippingEnabled.Key(): true,
			// A timer is never set nearer than this, so that several machines' clocks may differ. Here there is one clock, and
			// a default of a second would be most of a demo's time.
			dynamicconfig.TimerProcessorMaxTimeShift.Key(): 200 * time.Millisecond,
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("setting Temporal up: %w", err)
	}
	if err := server.Start(); err != nil {
		return nil, fmt.Errorf("starting Temporal: %w; its log is %s", err, filepath.Join(s.logs(), "temporal.log"))
	}
	t := &temporalServer{server: server, port: ports[0]}
	if err := t.registerNamespace(ctx); err != nil {
		t.stop()
		return nil, err
	}
	return t, nil
}

// registerNamespace also waits until the server answers, because the services start one after the other.
func (t *temporalServer) registerNamespace(ctx context.Context) error {
	c, err := client.NewLazyClient(client.Options{HostPort: t.address(), Namespace: namespace, Logger: silent{}})
	if err != nil {
		return err
	}
	defer c.Close()
	deadline := time.Now().Add(60 * time.Second)
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err = c.WorkflowService().RegisterNamespace(attempt, &workflowservice.RegisterNamespaceRequest{
			Namespace: namespace, WorkflowExecutionRetentionPeriod: durationpb.New(retention),
		})
		var exists *serviceerror.NamespaceAlreadyExists
		if err == nil || errors.As(err, &exists) {
			_, err = c.WorkflowService().ListWorkflowExecutions(attempt, &workflowservice.ListWorkflowExecutionsRequest{Namespace: namespace, PageSize: 1})
			if err == nil {
				_, err = c.WorkflowService().DescribeTaskQueue(attempt, describeProbe())
			}
		}
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("Temporal did not answer within a minute: %w", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (t *temporalServer) stop() { _ = t.server.Stop() }

func serverConfig(s *stack, services []primitives.ServiceName, ports []int) *config.Config {
	store := func(database string) config.DataStore {
		return config.DataStore{SQL: &config.SQL{
			PluginName: sqlPlugin, DatabaseName: database, ConnectProtocol: "tcp",
			ConnectAddr: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.postgres.port)),
			User:        adminRole, Password: s.postgres.password,
			MaxConns: 30, MaxIdleConns: 30, MaxConnLifetime: time.Hour,
		}}
	}
	rpc := map[string]config.Service{}
	for i, name := range services {
		rpc[string(name)] = config.Service{RPC: config.RPC{GRPCPort: ports[i], BindOnIP: "127.0.0.1"}}
	}
	frontend := rpc[string(primitives.FrontendService)]
	frontend.RPC.HTTPPort = ports[len(ports)-1]
	rpc[string(primitives.FrontendService)] = frontend
	return &config.Config{
		Persistence: config.Persistence{
			DefaultStore: "default", VisibilityStore: "visibility", NumHistoryShards: historyShards,
			DataStores: map[string]config.DataStore{"default": store(temporalDatabase), "visibility": store(visibilityDatabase)},
		},
		ClusterMetadata: &cluster.Config{
			FailoverVersionIncrement: 10, MasterClusterName: "active", CurrentClusterName: "active",
			ClusterInformation: map[string]cluster.ClusterInformation{
				"active": {Enabled: true, InitialFailoverVersion: 1, RPCAddress: net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))},
			},
		},
		DCRedirectionPolicy: config.DCRedirectionPolicy{Policy: "noop"},
		Services:            rpc,
		Archival: config.Archival{
			History:    config.HistoryArchival{State: config.ArchivalDisabled},
			Visibility: config.VisibilityArchival{State: config.ArchivalDisabled},
		},
		NamespaceDefaults: config.NamespaceDefaults{Archival: config.ArchivalNamespaceDefaults{
			History:    config.HistoryArchivalNamespaceDefaults{State: config.ArchivalDisabled},
			Visibility: config.VisibilityArchivalNamespaceDefaults{State: config.ArchivalDisabled},
		}},
		PublicClient: config.PublicClient{HostPort: net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))},
	}
}

// applySchema brings the two databases to this server's schema. Temporal's tool may exit the process when something
// is wrong, so it runs in a child: this binary again, under its hidden command.
func applySchema(ctx context.Context, s *stack) error {
	mark := filepath.Join(s.dir, "temporal-schema")
	if done, err := os.ReadFile(mark); err == nil && string(done) == temporalVersion {
		return nil
	}
	s.say("setting up Temporal's schemas")
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "schema", "--port", strconv.Itoa(s.postgres.port))
	cmd.Env = append(os.Environ(), "DEVSTACK_SCHEMA_PASSWORD="+s.postgres.password)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("setting up Temporal's schemas: %w\n%s", err, lastLines(out, 12))
	}
	return os.WriteFile(mark, []byte(temporalVersion), 0o644)
}

type schemaCmd struct {
	Port     int    `required:""`
	Password string `required:"" env:"DEVSTACK_SCHEMA_PASSWORD"`
}

// Run implements the hidden command schema.
func (c *schemaCmd) Run() error {
	for _, db := range []struct{ name, schema string }{
		{temporalDatabase, "postgresql/v12/temporal"},
		{visibilityDatabase, "postgresql/v12/visibility"},
	} {
		for _, step := range [][]string{
			{"create-database"},
			{"setup-schema", "-v", "0.0"},
			{"update-schema", "--schema-name", db.schema},
		} {
			args := append([]string{
				"temporal-sql-tool", "--plugin", sqlPlugin, "--endpoint", "127.0.0.1", "--port", strconv.Itoa(c.Port),
				"--user", adminRole, "--password", c.Password, "--database", db.name,
			}, step...)
			if err := sql.RunTool(args); err != nil {
				return fmt.Errorf("%s of %s: %w", step[0], db.name, err)
			}
		}
	}
	return nil
}

func describeProbe() *workflowservice.DescribeTaskQueueRequest {
	return &workflowservice.DescribeTaskQueueRequest{
		Namespace: namespace, TaskQueue: taskQueue("devstack-probe"), TaskQueueType: enumspb.TASK_QUEUE_TYPE_WORKFLOW,
	}
}

func freePorts(n int) ([]int, error) {
	var ports []int
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("no free port on loopback: %w", err)
		}
		held = append(held, l)
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

func lastLines(text []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
