package workflows

import (
	"errors"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/liferelay/liferelay/registry/seal"
)

// Everything that a workflow hands to the server is sealed, failures and stack traces too, and bound to the workflow's
// id: a payload copied into another history does not open. The payloads hold ids, codes and days only; the sealing is
// the second wall.

const encrypted = "binary/encrypted"

// dataConverter seals payloads with the installation's keyring.
func dataConverter(keys *seal.Keyring) converter.DataConverter {
	return converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), &codec{keys: keys})
}

// failureConverter seals messages and stack traces of failures, which travel in clear by default.
func failureConverter(data converter.DataConverter) converter.FailureConverter {
	return temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{DataConverter: data, EncodeCommonAttributes: true})
}

type codec struct {
	keys     *seal.Keyring
	workflow string // empty where the SDK tells no workflow
}

var _ converter.PayloadCodecWithSerializationContext = (*codec)(nil)

// WithSerializationContext binds the codec to the workflow that a payload belongs to.
func (c *codec) WithSerializationContext(ctx converter.SerializationContext) converter.PayloadCodec {
	switch context := ctx.(type) {
	case converter.WorkflowSerializationContext:
		return &codec{keys: c.keys, workflow: context.WorkflowID}
	case converter.ActivitySerializationContext:
		return &codec{keys: c.keys, workflow: context.WorkflowID}
	default:
		return c
	}
}

// Encode implements converter.PayloadCodec.
func (c *codec) Encode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	out := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		plain, err := p.Marshal()
		if err != nil {
			return nil, err
		}
		sealed, err := c.keys.SealPayload(c.workflow, plain)
		if err != nil {
			return nil, err
		}
		out[i] = &commonpb.Payload{Metadata: map[string][]byte{
			converter.MetadataEncoding: []byte(encrypted),
			boundTo:                    []byte(c.workflow),
		}, Data: sealed}
	}
	return out, nil
}

// boundTo is the metadata that tells which workflow a payload is bound to, so that a reader without the SDK's context can
// open it too. It is no secret, and a wrong one does not open.
const boundTo = "bound-to"

// Decode implements converter.PayloadCodec. Payloads of other encodings pass through.
func (c *codec) Decode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	out := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		if string(p.GetMetadata()[converter.MetadataEncoding]) != encrypted {
			out[i] = p
			continue
		}
		bound := string(p.GetMetadata()[boundTo])
		if c.workflow != "" && bound != c.workflow {
			return nil, errors.New("workflows: a payload belongs to another workflow")
		}
		plain, err := c.keys.OpenPayload(bound, p.GetData())
		if err != nil {
			return nil, err
		}
		out[i] = &commonpb.Payload{}
		if err := out[i].Unmarshal(plain); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// workflowID names the workflow of a case: its protocol and its id, nothing else.
func workflowID(protocol, id string) string { return protocol + "/" + id }
