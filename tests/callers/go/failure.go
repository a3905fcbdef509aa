package main

import (
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	domain             = "token.ask2do.com"
	serviceUnavailable = "SERVICE_UNAVAILABLE"
)

// failure is what a caller decides by. Reason is the service's, or, where the service said nothing,
// one of SERVICE_UNAVAILABLE, CLOUD_TIMEOUT (this caller's own timer) and UNKNOWN.
type failure struct {
	OK                bool     `json:"ok"`
	Code              string   `json:"code"`
	Reason            string   `json:"reason"`
	RetryAfterSeconds *float64 `json:"retryAfterSeconds"`
	Fields            []field  `json:"fields"`
}

// field is what the service finds wrong with one field of the request.
type field struct {
	Field       string `json:"field"`
	Description string `json:"description"`
}

func failureOf(err error) failure {
	s := status.Convert(err)
	f := failure{Code: code.Code(s.Code()).String(), Reason: "UNKNOWN", Fields: []field{}}
	switch s.Code() {
	case codes.Unavailable:
		f.Reason = serviceUnavailable
	case codes.DeadlineExceeded:
		f.Reason = "CLOUD_TIMEOUT"
	}
	for _, detail := range s.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() == domain {
				f.Reason = detail.GetReason()
			}
		case *errdetails.RetryInfo:
			seconds := detail.GetRetryDelay().AsDuration().Seconds()
			f.RetryAfterSeconds = &seconds
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				f.Fields = append(f.Fields, field{violation.GetField(), violation.GetDescription()})
			}
		}
	}
	return f
}
