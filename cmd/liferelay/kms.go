package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/liferelay/liferelay/registry/seal"
)

// kmsSettings name the key service that wraps the key file. Its token is not among them: a command line is everybody's to
// read, so it comes from LIFERELAY_KMS_TOKEN or from a file.
type kmsSettings struct {
	Address   string `name:"kms-address" env:"LIFERELAY_KMS_ADDRESS" placeholder:"URL" help:"The HashiCorp Vault whose Transit engine wraps the key file: https://host:8200. Without it the file is in clear."`
	Mount     string `name:"kms-mount" env:"LIFERELAY_KMS_MOUNT" default:"transit" help:"Where the Transit engine is mounted."`
	Key       string `name:"kms-key" env:"LIFERELAY_KMS_KEY" default:"liferelay" help:"The name of the Transit key."`
	Namespace string `name:"kms-namespace" env:"LIFERELAY_KMS_NAMESPACE" placeholder:"NAME" help:"The Vault namespace, if any."`
	TokenFile string `name:"kms-token-file" env:"LIFERELAY_KMS_TOKEN_FILE" type:"path" placeholder:"PATH" help:"The file that holds the token, unless LIFERELAY_KMS_TOKEN does."`
}

const (
	kmsSetting      = "LIFERELAY_KMS_ADDRESS (--kms-address)"
	kmsTokenSetting = "LIFERELAY_KMS_TOKEN"
)

// service gives the key service, nil when none is set.
func (s kmsSettings) service() (seal.KMS, error) {
	if s.Address == "" {
		return nil, nil
	}
	u, err := url.Parse(s.Address)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !net.ParseIP(u.Hostname()).IsLoopback()) {
		return nil, configError{setting: kmsSetting, says: "cli.kms_unreadable"}
	}
	token := os.Getenv(kmsTokenSetting)
	if token == "" && s.TokenFile != "" {
		data, err := os.ReadFile(s.TokenFile)
		if err != nil {
			return nil, configError{setting: kmsTokenSetting, says: err.Error()}
		}
		token = strings.TrimSpace(string(data))
	}
	if token == "" {
		return nil, configError{setting: kmsTokenSetting, says: "cli.kms_no_token"}
	}
	return &transit{kmsSettings: s, token: token, client: &http.Client{Timeout: 10 * time.Second}}, nil
}

// transit wraps the key file with a key of HashiCorp Vault's Transit engine, which never leaves it. What it gives begins
// with vault:v and the version of that key, so the key may be rotated there; keys wrap then takes the file over.
type transit struct {
	kmsSettings
	token  string
	client *http.Client
}

// Name implements seal.KMS.
func (t *transit) Name() string { return "vault:" + t.Mount + "/" + t.Key }

// Wrap implements seal.KMS.
func (t *transit) Wrap(ctx context.Context, plain []byte) (string, error) {
	var out struct {
		Ciphertext string `json:"ciphertext"`
	}
	err := t.ask(ctx, "encrypt", map[string]any{"plaintext": plain}, &out)
	if err == nil && !strings.HasPrefix(out.Ciphertext, "vault:v") {
		err = errors.New("the answer holds no ciphertext of Transit's")
	}
	return out.Ciphertext, err
}

// Unwrap implements seal.KMS.
func (t *transit) Unwrap(ctx context.Context, wrapped string) ([]byte, error) {
	var out struct {
		Plaintext []byte `json:"plaintext"` // in base64, as encoding/json has bytes
	}
	err := t.ask(ctx, "decrypt", map[string]any{"ciphertext": wrapped}, &out)
	return out.Plaintext, err
}

// ask does one operation of the engine. Its errors hold what Vault says is wrong, which never repeats what was sent.
func (t *transit) ask(ctx context.Context, operation string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	u, err := url.JoinPath(t.Address, "v1", t.Mount, operation, t.Key)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, u, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("X-Vault-Token", t.token)
	request.Header.Set("X-Vault-Request", "true")
	if t.Namespace != "" {
		request.Header.Set("X-Vault-Namespace", t.Namespace)
	}
	response, err := t.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(response.Body, 8<<20))
	if err != nil {
		return err
	}
	var answer struct {
		Data   json.RawMessage `json:"data"`
		Errors []string        `json:"errors"`
	}
	if err := json.Unmarshal(data, &answer); response.StatusCode != http.StatusOK || err != nil || len(answer.Data) == 0 {
		return fmt.Errorf("%s at %s answers %d: %s", operation, t.Name(), response.StatusCode, strings.Join(answer.Errors, "; "))
	}
	if json.Unmarshal(answer.Data, out) != nil {
		// The data may be the keys: an error of their parser may repeat them.
		return fmt.Errorf("%s at %s answers what Transit would not", operation, t.Name())
	}
	return nil
}
