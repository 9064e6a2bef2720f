"""TLS: whom a client takes for the server, what either side refuses, and in which words."""

import base64
import hashlib
import http.client
import json
import pathlib
import re
import socket
import ssl
import subprocess
import tempfile
import threading
import unittest
import warnings

import harness

CLIENT = harness.BIN / "manyhands-client"
SERVER = harness.BIN / "manyhands-server"
CLI = harness.BIN / "manyhands"


def openssl(*arguments, text_input=None, expect=0):
    return harness.run("openssl", *arguments, text_input=text_input, expect=expect)


class Authority:
    """An authority of one's own, and certificates that it has signed."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.certificate = self.folder / "ca.crt"
        self.key = self.folder / "ca.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                "-subj", "/CN=Test authority", "-keyout", self.key, "-out", self.certificate)

    def sign(self, name, days, names="IP:127.0.0.1"):
        """Options for `manyhands-server run`."""
        key, request, certificate = (self.folder / f"{name}.{kind}" for kind in ("key", "csr", "crt"))
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={names}\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                "-keyout", key, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
                "-days", days, "-extfile", extensions, "-out", certificate)
        return ["--tls-certificate", certificate, "--tls-key", key]


class SpyServer:
    """Something else in the server's place: takes connections, shows a certificate, keeps what it hears."""

    def __init__(self, context):
        self.heard = []
        self.context = context
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    with self.context.wrap_socket(connection, server_side=True) as secure:
                        self.heard.append(secure.recv(65536))
                except OSError:
                    pass  # It was refused, as it should be.

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class TlsTest(unittest.TestCase):
    def setUp(self):
        self.cluster = harness.Cluster(tls=True)
        self.addCleanup(self.cluster.close)
        self.authority = None

    def start(self, *options):
        self.cluster.server_options = list(options)
        if not self.cluster.server_dir.exists():
            self.cluster.init_server()
        self.cluster.start_server()

    def line(self):
        """The join line that the server printed last."""
        text = (self.cluster.directory / "server.log").read_text()
        return re.findall(r"manyhands-client attach '([^']*)'", text)[-1]

    def attach(self, line, *options, name="ada", expect=0):
        out, err = harness.run(CLIENT, "attach", line, "--dir", self.cluster.directory / name, "--name", name, "--yes",
                               *options, expect=expect, env=self.cluster.environment)
        return out if expect == 0 else err

    def state(self, name="ada"):
        return json.loads((self.cluster.directory / name / "state.json").read_text())

    def assert_says(self, text, *words):
        for word in words:
            self.assertIn(word, text)

    def make_authority(self):
        folder = tempfile.TemporaryDirectory(prefix="manyhands-ca-")
        self.addCleanup(folder.cleanup)
        return Authority(folder.name)

    def own_context(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cluster.server_dir / "tls.crt", self.cluster.server_dir / "tls.key")
        return context

    # --- the join line ---------------------------------------------------------------------------

    def test_the_line_names_the_key_and_the_client_remembers_it(self):
        self.start("--run-by", "Ada Lovelace, ada@example.org")
        line = self.line()
        self.assertRegex(line, r"^https://127\.0\.0\.1:\d+/#mhi_[\w-]{43}@[\w-]{43}$")
        # The fingerprint is what openssl says of the key.
        public, _ = openssl("x509", "-in", self.cluster.server_dir / "tls.crt", "-noout", "-pubkey")
        der = base64.b64decode("".join(public.split("\n")[1:-2]))
        fingerprint = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")
        self.assertEqual(line.split("@")[1], fingerprint)
        plan = self.attach(line)
        self.assert_says(plan, "Ada Lovelace, ada@example.org", fingerprint, "at most 10GB", "niceness 19",
                         str(self.cluster.directory / "ada"), "Attached to https://")
        state = self.state()
        self.assertEqual((state["fingerprint"], state["server"]), (fingerprint, self.cluster.url))
        self.assertNotIn("mhi_", json.dumps(state))
        self.assert_says(self.attach(line), "Already attached")
        for file in ("tls.key", "tls.crt"):
            self.assertEqual((self.cluster.server_dir / file).stat().st_mode & 0o777, 0o600)

    def test_an_invitation_that_is_used_up_opens_nothing(self):
        self.cluster.init_options = ["--invitation-uses", "1"]
        self.start()
        line = self.line()
        self.attach(line)
        error = self.attach(line, name="eve", expect=3)
        self.assert_says(error, "was used 1 times, which is its limit", "ask")
        # The next start prints one that works.
        self.cluster.kill_server()
        self.start()
        self.assertNotEqual(self.line(), line)
        self.attach(self.line(), name="carl")

    def test_an_invitation_ends_in_time(self):
        self.cluster.init_options = ["--invitation-for", "1s"]
        self.start()
        line = self.line()

        names = (f"late-{number}" for number in range(1000))

        def is_refused():
            _, err = harness.run(CLIENT, "attach", line, "--dir", self.cluster.directory / next(names), "--yes",
                                 expect=None)
            return "invitation expired" in err
        harness.wait_until(is_refused, 10, "the invitation expires")

    def test_a_secret_that_one_server_has_heard_is_not_told_to_another(self):
        self.start()
        no_invitation = re.sub(r"#mhi_[\w-]*@", "#mhi_wrong@", self.line())
        self.assert_says(self.attach(no_invitation, expect=3), "does not accept the invitation")
        secret = self.state()["host_secret"]
        self.attach(no_invitation, expect=3)
        self.assertEqual(self.state()["host_secret"], secret, "the same server may be asked again")
        self.cluster.kill_server()
        harness.run(SERVER, "certificate", self.cluster.server_dir, "--new-key")
        self.start()
        self.attach(self.line())
        self.assertNotEqual(self.state()["host_secret"], secret)

    def test_a_line_may_come_by_standard_input(self):
        self.start()
        out, _ = harness.run(CLIENT, "attach", "-", "--dir", self.cluster.directory / "bob", "--yes",
                             text_input=self.line() + "\n")
        self.assertIn("Attached to", out)

    # --- refusals: the client --------------------------------------------------------------------

    def test_a_wrong_fingerprint_is_refused_before_anything_is_said(self):
        self.start()
        spy = SpyServer(self.own_context())
        self.addCleanup(spy.close)
        line = self.line()
        wrong = line[:-43] + ("A" * 42 + "E")
        error = self.attach(wrong.replace(f":{self.cluster.port}/", f":{spy.port}/"), expect=3)
        self.assert_says(error, "not the one that was expected", line[-43:], "Nothing was sent to it",
                         "Ask the project's admin for a new one")
        self.assertEqual(spy.heard, [])
        error = self.attach(line[:-1], expect=2)
        self.assert_says(error, "is no fingerprint")
        self.assertFalse((self.cluster.directory / "ada").exists())

    def test_a_server_with_another_key_is_refused_and_the_volunteer_hears_what_to_do(self):
        self.cluster.start()
        volunteer = self.cluster.add_volunteer("ada")
        harness.wait_until(volunteer.status, 20, "the client runs")
        self.cluster.server.terminate()
        self.cluster.server.wait(timeout=15)
        harness.run(SERVER, "certificate", self.cluster.server_dir, "--new-key")
        self.cluster.start_server()
        advice = ("not the one that was expected", "Nothing was sent to it", "Ask the project's admin",
                  "manyhands-client detach --force", "new join line")
        harness.wait_until(lambda: all(word in volunteer.log_text() for word in advice), 120,
                           "the client says that the key has changed")
        status = volunteer.status()
        self.assertIn("not the one that was expected", json.dumps(status))
        # `manyhands` refuses it, too, and neither verb changes anything.
        _, error = self.cluster.cli("job", "list", as_json=False, expect=3)
        self.assert_says(error, "not the one that was expected", "manyhands login")
        error = self.attach(self.line(), expect=1)
        self.assert_says(error, "known by the key", "detach --force")
        volunteer.stop()
        _, error = harness.run(CLIENT, "detach", "--dir", volunteer.directory, expect=3)
        self.assertIn("detach --force", error)
        harness.run(CLIENT, "detach", "--force", "--dir", volunteer.directory)
        self.attach(self.line())

    def test_a_new_certificate_for_the_same_key_changes_nothing(self):
        self.cluster.start()
        self.attach(self.line())
        self.cluster.server.terminate()
        self.cluster.server.wait(timeout=15)
        harness.run(SERVER, "certificate", self.cluster.server_dir, "--renew", "--name", "train.example.org")
        self.cluster.start_server()
        self.assertIn("Already attached", self.attach(self.line()))
        self.cluster.cli("job", "list")
        out, _ = harness.run(SERVER, "certificate", self.cluster.server_dir)
        self.assertIn("train.example.org", out)

    def test_certificates_of_an_authority_need_no_fingerprint(self):
        authority = self.make_authority()
        self.start(*authority.sign("good", 10))
        line = self.line()
        self.assertNotIn("@", line)
        error = self.attach(line, expect=3)
        self.assert_says(error, "not to be trusted", "unable to get local issuer certificate", "--ca-file")
        self.assert_says(self.attach(line, "--ca-file", authority.certificate), "the authority of --ca-file")
        # It is kept: the daemon needs no flag.
        self.assertIn("BEGIN CERTIFICATE", self.state()["authority"])
        harness.run(CLI, "login", self.cluster.url, "--ca-file", authority.certificate, "--token-file",
                    self.cluster.server_dir / "admin.token", env=self.cluster.environment)
        self.cluster.cli("job", "list")
        harness.run(CLIENT, "detach", "--dir", self.cluster.directory / "ada")

    def test_certificates_that_expired_or_are_for_another_name_are_refused(self):
        authority = self.make_authority()
        self.start(*authority.sign("old", 0))
        self.assertIn("the TLS certificate has expired", (self.cluster.directory / "server.log").read_text())
        error = self.attach(self.line(), "--ca-file", authority.certificate, expect=3)
        self.assert_says(error, "certificate has expired", "admin must renew it", "clock")
        self.cluster.kill_server()
        self.start(*authority.sign("other", 10, names="DNS:elsewhere.example"))
        error = self.attach(self.line(), "--ca-file", authority.certificate, expect=3)
        self.assert_says(error, "IP address mismatch", "made for another address")

    def test_a_server_that_knows_only_old_tls_is_refused(self):
        self.start()
        context = self.own_context()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        spy = SpyServer(context)
        self.addCleanup(spy.close)
        error = self.attach(self.line().replace(f":{self.cluster.port}/", f":{spy.port}/"), expect=3)
        self.assert_says(error, "no TLS as new as 1.2", "must be updated")
        self.assertEqual(spy.heard, [])

    def test_plain_http_and_tls_do_not_mix(self):
        self.start()
        # Plain HTTP to a TLS port: curl, and our client.
        out, _ = harness.run("curl", "-sS", f"http://127.0.0.1:{self.cluster.port}/healthz")
        self.assertIn("this port speaks TLS only: use the server's https:// address", out)
        plain = self.line().replace("https://", "http://").split("@")[0]
        self.assert_says(self.attach(plain, expect=3), "this port speaks TLS only")
        error = self.attach(self.line().replace("https://", "http://"), expect=2)
        self.assert_says(error, "plain HTTP, but a fingerprint follows")
        error = self.attach("http://192.0.2.1:8470/#mhi_x", expect=2)
        self.assert_says(error, "secrets would travel readable", "--insecure-http")
        # TLS to a plain port.
        line = self.line()
        self.cluster.kill_server()
        self.start("--plain-http")
        error = self.attach(line, expect=3)
        self.assert_says(error, "there is no TLS on this port", "http://")

    # --- refusals: the server --------------------------------------------------------------------

    def s_client(self, *options, expect=0):
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{self.cluster.port}", *options], input="",
                              capture_output=True, text=True, timeout=20)
        if expect is not None:
            self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_the_server_speaks_1_3_or_1_2_with_modern_ciphers_and_nothing_older(self):
        self.start()
        self.assert_says(self.s_client("-brief"), "Protocol version: TLSv1.3", "Peer certificate", "ECDSA")
        self.assert_says(self.s_client("-brief", "-tls1_2"), "Protocol version: TLSv1.2", "ECDHE", "GCM")
        self.assert_says(self.s_client("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA", expect=1), "handshake failure")
        self.assert_says(self.s_client("-tls1_1", "-cipher", "ALL:@SECLEVEL=0", expect=1), "alert protocol version")
        log = (self.cluster.directory / "server.log").read_text()
        self.assert_says(log, "a TLS handshake failed peer=127.0.0.1")

    def test_an_admin_hears_what_is_wrong_with_the_options(self):
        self.cluster.init_server()

        def refused(*options):
            _, err = harness.run(SERVER, "run", self.cluster.server_dir, "--listen", "0.0.0.0:0", *options, expect=2)
            return err
        self.assert_says(refused("--plain-http"), "secrets would travel readable", "Leave --plain-http away")
        self.assert_says(refused("--tls-key", "x"), "need each other")
        self.assert_says(refused("--tls-key", "x", "--tls-certificate", "/nowhere"), "--tls-certificate", "/nowhere")
        key = self.cluster.server_dir / "tls.key"
        self.assert_says(refused("--tls-key", key, "--tls-certificate", key), "holds no certificate")
        authority = self.make_authority()
        certificate = authority.sign("good", 10)[1]
        self.assert_says(refused("--tls-key", key, "--tls-certificate", certificate), "does not belong")

    def test_a_folder_of_an_older_version_gets_an_identity(self):
        self.cluster.init_server()
        for file in ("tls.key", "tls.crt"):
            (self.cluster.server_dir / file).unlink()
        self.start()
        line = self.line()
        self.attach(line)
        self.cluster.kill_server()
        # A lost certificate is made anew for the key that is there.
        (self.cluster.server_dir / "tls.crt").unlink()
        self.start()
        self.assertEqual(self.line(), line.replace(line.split("/")[2], f"127.0.0.1:{self.cluster.port}"))
        backup = self.cluster.directory / "backup"
        harness.run(SERVER, "backup", self.cluster.server_dir, backup)
        self.assertEqual((backup / "tls.key").read_text(), (self.cluster.server_dir / "tls.key").read_text())
        self.cluster.kill_server()
        (self.cluster.server_dir / "tls.key").unlink()
        _, error = harness.run(SERVER, "run", self.cluster.server_dir, "--listen", "127.0.0.1:0", expect=1)
        self.assert_says(error, "tls.key is missing", "backup")

    # --- what is said where ------------------------------------------------------------------------

    def test_secrets_are_in_no_log_and_in_no_list_of_processes(self):
        self.start()
        line = self.line()
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        elsewhere = line.replace(f":{self.cluster.port}/", f":{silent.getsockname()[1]}/")
        waiting = subprocess.Popen([str(CLIENT), "attach", elsewhere, "--dir", str(self.cluster.directory / "eve"),
                                    "--yes"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(waiting.wait)
        self.addCleanup(waiting.kill)
        invitation = line.split("#")[1].split("@")[0]
        command = pathlib.Path(f"/proc/{waiting.pid}/cmdline")
        harness.wait_until(lambda: b"attach" in command.read_bytes() and invitation.encode() not in command.read_bytes(),
                           5, "the invitation is gone from the command line")
        self.attach(line)
        self.assertNotIn(self.state()["host_secret"], (self.cluster.directory / "server.log").read_text())

    def test_python_and_curl_speak_to_it(self):
        self.start()
        certificate = self.cluster.server_dir / "tls.crt"
        out, _ = harness.run("curl", "-sS", "--cacert", certificate, f"{self.cluster.url}/healthz")
        self.assertEqual(out.strip(), "ok")
        connection = http.client.HTTPSConnection("localhost", self.cluster.port,
                                                 context=ssl.create_default_context(cafile=certificate))
        connection.request("GET", "/healthz")
        self.assertEqual(connection.getresponse().status, 200)
        connection.close()


if __name__ == "__main__":
    unittest.main()
