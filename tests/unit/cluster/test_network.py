"""Which nftables tables are nobody's any more."""

from __future__ import annotations

import pytest

from orchestrator.cluster.network import plan_stray_tables, policy_table, service_table
from orchestrator.kubelet.network.plan import bridge_name, table_name

OWN = [table_name("alive"), service_table("alive"), policy_table("alive")]
GONE = [table_name("gone"), service_table("gone"), policy_table("gone")]
OTHERS = ["nat", "filter", "orchestrator_svc_bystander", "orchestrator_", "my_orchestrator_svc_0badcafe"]


@pytest.mark.parametrize(
    ("interfaces", "strays"),
    [
        ({"lo", bridge_name("alive"), bridge_name("gone")}, []),
        ({"lo", bridge_name("alive")}, GONE),
        ({"lo"}, OWN + GONE),
    ],
)
def test_tables_without_the_bridge_of_their_cluster(interfaces: set[str], strays: list[str]) -> None:
    assert plan_stray_tables([*OWN, *OTHERS, *GONE], interfaces) == strays
