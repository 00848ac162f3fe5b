"""Tokens of service accounts: signed on request, bound to pods, checked on every use.

Serves `serviceaccounts/<name>/token` (TokenRequest, KEP-1205) and authenticates the tokens it
issued: signature, issuer, time, audience, and that account and pod still are the ones they were. Signs and
checks with the same key the tokens that stand in Secrets (`secret_tokens`).
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orchestrator.aiokit.clock import Clock, format_time, parse_time
from orchestrator.api import errors
from orchestrator.api.errors import Cause
from orchestrator.api.objects import Object, uid_of
from orchestrator.apiserver.authentication import secret_tokens
from orchestrator.apiserver.incoming import check_namespace
from orchestrator.apiserver.object_kinds import decode_part
from orchestrator.apiserver.request import ApiRequest, ObjectResult
from orchestrator.apiserver.user import AUTHENTICATED_GROUP, User
from orchestrator.component.client_certificates import CREDENTIAL_ID

if TYPE_CHECKING:
    from orchestrator.apiserver.server import ApiServer

ALGORITHM = "ES256"
_API_VERSION = "authentication.k8s.io/v1"
SECONDS_MIN, SECONDS_MAX, SECONDS_DEFAULT = 600, 1 << 32, 3600
EXTENDED_SECONDS = 365 * 24 * 3600
"""A pod's own token (asked for with 3607 s) is really good for a year, as kube-apiserver extends it."""
POD_TOKEN_SECONDS = 3607
VERIFIED_MAX = 4096
LEEWAY_SECONDS = 60


class ServiceAccountTokens:
    """Issues and checks tokens with one key."""

    def __init__(self, server: ApiServer, *, load_key: Callable[[], bytes], issuer: str, clock: Clock) -> None:
        self._server = server
        self._load_key = load_key
        self.issuer = issuer
        self._clock = clock
        self._key: Any = None
        self._verified: OrderedDict[str, dict[str, Any]] = OrderedDict()
        """Tokens whose signature was checked already; account and pod are looked up every time."""

    def register(self) -> None:
        """Serve the subresource."""
        self._server.subresources["serviceaccounts", "token", "create"] = self.create

    async def create(self, server: ApiServer, request: ApiRequest) -> ObjectResult:
        """POST of a TokenRequest; answers with the token in its status."""
        account = await server.read("serviceaccounts", request.name, request.namespace)
        if account is None:
            raise errors.not_found("", "serviceaccounts", request.name)
        body = decode_part(request, request.body)
        check_namespace(request, body)
        _check_names_account(request, body, uid_of(account))
        body = await server.admit_subresource(request, body)
        given: Object = body.get("spec") or {}
        spec: Object = dict(given)
        seconds = spec.get("expirationSeconds")
        seconds = SECONDS_DEFAULT if seconds is None else seconds
        if not isinstance(seconds, int) or not SECONDS_MIN <= seconds <= SECONDS_MAX:
            what = (
                "may not specify a duration less than 10 minutes"
                if isinstance(seconds, int) and seconds < SECONDS_MIN
                else "may not specify a duration larger than 2^32 seconds"
            )
            raise errors.invalid(
                "authentication.k8s.io",
                "TokenRequest",
                request.name,
                [Cause("FieldValueInvalid", f"Invalid value: {seconds}: {what}", "spec.expirationSeconds")],
            )
        audiences = spec.get("audiences") or [self.issuer]
        bound = await self._bound_object(server, request, spec.get("boundObjectRef"))
        now = self._clock.now()
        issued = int(now.timestamp())
        lifetime = EXTENDED_SECONDS if seconds == POD_TOKEN_SECONDS and bound else seconds
        private: dict[str, Any] = {
            "namespace": request.namespace,
            "serviceaccount": {"name": request.name, "uid": uid_of(account)},
        }
        if lifetime != seconds:
            private["warnafter"] = issued + seconds
        private.update(bound)
        claims = {
            "aud": audiences,
            "exp": issued + lifetime,
            "iat": issued,
            "iss": self.issuer,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": private,
            "nbf": issued,
            "sub": f"system:serviceaccount:{request.namespace}:{request.name}",
        }
        token = self._sign(claims)
        expiry = format_time(now.fromtimestamp(issued + seconds, now.tzinfo))
        spec = {
            "audiences": audiences,
            "expirationSeconds": seconds,
            "boundObjectRef": spec.get("boundObjectRef"),
        }
        sent = {"apiVersion": _API_VERSION, "spec": {**given, "expirationSeconds": seconds}}
        return ObjectResult(
            {
                "kind": "TokenRequest",
                "apiVersion": _API_VERSION,
                "metadata": {
                    "name": request.name,
                    "namespace": request.namespace,
                    "uid": uid_of(account),
                    "creationTimestamp": format_time(now),
                    "managedFields": server.ownership.entries_of_new(request, sent, "TokenRequest"),
                },
                "spec": spec,
                "status": {"token": token, "expirationTimestamp": expiry},
            },
            None,
            201,
        )

    async def _bound_object(self, server: ApiServer, request: ApiRequest, reference: Any) -> dict[str, Any]:
        """The private claims that tie a token to a pod, a secret or a node."""
        if not reference:
            return {}
        kinds = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}
        kind, name = reference.get("kind"), reference.get("name") or ""
        if kind not in kinds or reference.get("apiVersion", "v1") != "v1":
            raise errors.BadRequest(f"cannot bind token to object of type {kind}")
        namespace = "" if kind == "Node" else request.namespace
        found = await server.read(kinds[kind], name, namespace)
        if found is None:
            raise errors.not_found("", kinds[kind], name)
        if reference.get("uid") and reference["uid"] != uid_of(found):
            raise errors.conflict(
                "",
                kinds[kind],
                name,
                f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record."
                " The object might have been deleted and then recreated",
            )
        if kind == "Pod" and (found["spec"].get("serviceAccountName") or "") != request.name:
            why = "to pod running with different serviceaccount name."
            raise errors.BadRequest(f'cannot bind token for serviceaccount "{request.name}" {why}')
        bound: dict[str, Any] = {kind.lower(): {"name": name, "uid": uid_of(found)}}
        node_name = found["spec"].get("nodeName") if kind == "Pod" else None
        if node_name:
            node = await server.read("nodes", node_name)
            bound["node"] = {"name": node_name, **({"uid": uid_of(node)} if node else {})}
        return bound

    def for_secret(self, secret: Object, account: Object) -> str:
        """The token for a Secret of type `kubernetes.io/service-account-token`."""
        return self._sign(secret_tokens.claims_for(secret, account))

    def _sign(self, claims: dict[str, Any]) -> str:
        import jwt

        return jwt.encode(claims, self._signing_key(), algorithm=ALGORITHM, headers={"kid": self.key_id()})

    # Checking.

    async def authenticate(self, token: str) -> User | None:
        """The service account whose token this is; None when it is not one of ours; Unauthorized when it is no good."""
        user, _ = await self.review(token, ())
        return user

    async def review(self, token: str, audiences: tuple[str, ...]) -> tuple[User | None, list[str]]:
        """The user of a token and the audiences in common; (None, []) for what is not good for these audiences."""
        claims = self._claims(token)
        if claims is None:
            return None, []
        if claims["iss"] == secret_tokens.ISSUER:
            return await self._review_of_secret(token, claims, audiences)
        now = self._clock.now().timestamp()
        if claims["exp"] < now or claims.get("nbf", 0) > now + LEEWAY_SECONDS:
            return None, []
        wanted = set(audiences or (self.issuer,))
        common = [audience for audience in claims["aud"] if audience in wanted]
        if not common:
            return None, []
        private = claims["kubernetes.io"]
        namespace, account = private["namespace"], private["serviceaccount"]
        if not await self._still_there("serviceaccounts", account, namespace):
            return None, []
        extra: dict[str, tuple[str, ...]] = {CREDENTIAL_ID: (f"JTI={claims['jti']}",)}
        for kind, resource in (("pod", "pods"), ("secret", "secrets")):
            if kind in private:
                if not await self._still_there(resource, private[kind], namespace):
                    return None, []
                if kind == "pod":
                    extra["authentication.kubernetes.io/pod-name"] = (private[kind]["name"],)
                    extra["authentication.kubernetes.io/pod-uid"] = (private[kind]["uid"],)
        if "node" in private:
            extra["authentication.kubernetes.io/node-name"] = (private["node"]["name"],)
            if private["node"].get("uid"):
                extra["authentication.kubernetes.io/node-uid"] = (private["node"]["uid"],)
        return User(claims["sub"], account["uid"], _groups(namespace), extra), common

    async def _review_of_secret(
        self, token: str, claims: dict[str, Any], audiences: tuple[str, ...]
    ) -> tuple[User | None, list[str]]:
        names = secret_tokens.names_in(claims)
        if names is None or (audiences and self.issuer not in audiences):
            return None, []
        namespace, secret_name, account_name = names
        secret = await self._server.read("secrets", secret_name, namespace)
        account = await self._server.read("serviceaccounts", account_name, namespace)
        if account is None or not secret_tokens.is_good(token, claims, secret, account):
            return None, []
        return User(claims["sub"], uid_of(account), _groups(namespace)), [self.issuer]

    async def _still_there(self, resource: str, reference: dict[str, Any], namespace: str) -> bool:
        found = await self._server.read(resource, reference["name"], namespace)
        if found is None or uid_of(found) != reference["uid"]:
            return False
        deleted = found["metadata"].get("deletionTimestamp")
        return not deleted or parse_time(deleted).timestamp() + LEEWAY_SECONDS > self._clock.now().timestamp()

    def _claims(self, token: str) -> dict[str, Any] | None:
        known = self._verified.get(token)
        if known is not None:
            self._verified.move_to_end(token)
            return known
        import jwt

        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._signing_key().public_key(),
                algorithms=[ALGORITHM],
                # Times are checked against the injected clock, audiences against what is asked for.
                options={"verify_aud": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except jwt.InvalidTokenError:
            return None
        if claims.get("iss") != secret_tokens.ISSUER and (
            claims.get("iss") != self.issuer or "kubernetes.io" not in claims
        ):
            return None
        self._verified[token] = claims
        if len(self._verified) > VERIFIED_MAX:
            self._verified.popitem(last=False)
        return claims

    # The key, for others to check tokens with.

    def key_id(self) -> str:
        """Names the key in tokens and in the key set."""
        import base64
        import hashlib

        from cryptography.hazmat.primitives import serialization

        encoded = (
            self._signing_key()
            .public_key()
            .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        return base64.urlsafe_b64encode(hashlib.sha256(encoded).digest()).rstrip(b"=").decode()

    def key_set(self) -> Object:
        """The JSON Web Key Set at `/openid/v1/jwks`."""
        import orjson
        from jwt.algorithms import ECAlgorithm

        key = orjson.loads(ECAlgorithm.to_jwk(self._signing_key().public_key()))
        return {"keys": [{"use": "sig", "kid": self.key_id(), "alg": ALGORITHM, **key}]}

    def _signing_key(self) -> Any:
        if self._key is None:
            from cryptography.hazmat.primitives import serialization

            self._key = serialization.load_pem_private_key(self._load_key(), None)
        return self._key


def _groups(namespace: str) -> tuple[str, ...]:
    return ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED_GROUP)


def _check_names_account(request: ApiRequest, body: Object, uid: str) -> None:
    """422 or 409 when a TokenRequest says that it is for another account than the URL does."""
    metadata = body["metadata"]
    if metadata.get("name") and metadata["name"] != request.name:
        what = f'Invalid value: "{metadata["name"]}": must match the service account name if specified'
        cause = Cause("FieldValueInvalid", what, "metadata.name")
        raise errors.invalid("authentication.k8s.io", "TokenRequest", request.name, [cause])
    if metadata.get("uid") and metadata["uid"] != uid:
        raise errors.conflict(
            "authentication.k8s.io",
            "TokenRequest",
            request.name,
            f"the UID in the token request ({metadata['uid']}) does not match the UID of the service account ({uid})",
        )
