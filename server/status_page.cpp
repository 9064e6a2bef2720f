// See status_page.h. Everything a server or a host says is put in with textContent, never as HTML.
#include "server/status_page.h"

namespace mh::server {
namespace {

constexpr std::string_view kPage = R"html(<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Manyhands</title>
<link rel="icon" href="data:,">
<style>
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;
color:#1b1f24;background:#fff}
h1{font-size:1.4rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #e2e5e9}
td.n,th.n{text-align:right}tr.job{cursor:pointer}tr.job:hover{background:#f4f6f8}
tr.chosen{background:#eaf2fb}.bar{background:#e2e5e9;height:.6rem;width:8rem;border-radius:.3rem}
.bar i{display:block;height:100%;background:#2563a8;border-radius:.3rem}
#note{color:#8a2a16}svg{width:100%;height:16rem;border:1px solid #e2e5e9}
code{overflow-wrap:anywhere}input,button{font:inherit;padding:.3rem .5rem}small{color:#5a636e}
@media(prefers-color-scheme:dark){body{background:#15181c;color:#d9dee4}
th,td,svg{border-color:#333a42}tr.job:hover{background:#1e2328}tr.chosen{background:#1d2b3a}
.bar{background:#333a42}#note{color:#f0a08e}small{color:#98a2ad}}
</style></head><body>
<h1>Manyhands</h1><p id="server"><small>asking the server…</small></p><p id="note"></p>
<form id="login" hidden><label>Token of a researcher or admin account:
<input id="token" type="password" autocomplete="off" size="50"></label> <button>Look</button>
<br><small>It stays in this browser tab.</small></form>
<div id="main" hidden><h2>Jobs</h2><table><thead><tr><th class="n">id</th><th>name</th>
<th>state</th><th>progress</th>
<th class="n">step</th><th class="n">loss</th><th class="n">accuracy</th>
<th class="n">samples/s</th><th class="n">hosts</th><th class="n">time left</th></tr></thead>
<tbody id="jobs"></tbody></table>
<div id="detail" hidden><h2 id="title"></h2><p id="reason"></p>
<p><button id="invite">Invite volunteers</button> <code id="line"></code><br>
<small id="uses"></small></p>
<svg id="plot" viewBox="0 0 800 240" preserveAspectRatio="none" role="img"
aria-label="training loss and evaluation loss by step"></svg>
<small id="legend"></small></div>
<h2>Hosts</h2><table><thead><tr><th class="n">id</th><th>name</th><th>device</th><th>seen</th>
<th class="n">leases</th><th class="n">valid</th><th class="n">lost</th>
<th class="n">credit (GFLOP)</th></tr></thead><tbody id="hosts"></tbody></table></div>
<script>
"use strict";
const $=id=>document.getElementById(id);let chosen=0,timer=0;
const call=async(name,body)=>{
 const head={"Content-Type":"application/json","Connect-Protocol-Version":"1"};
 const token=sessionStorage.getItem("token");if(token)head.Authorization="Bearer "+token;
 const r=await fetch("/manyhands.v1."+name,
  {method:"POST",headers:head,body:JSON.stringify(body||{})});
 const j=await r.json();if(!r.ok){const e=new Error(j.message||r.status);e.code=j.code;throw e}
 return j};
const cell=(row,text,kind)=>{const c=row.insertCell();c.textContent=text;if(kind)c.className=kind;
 return c};
const number=(v,d)=>v===undefined||v==="NaN"?"–":Number(v).toLocaleString("en",
 {maximumFractionDigits:d,minimumFractionDigits:d});
const count=(v,what)=>(v||0)+" "+what+(v==1?"":"s");
const time=s=>s===undefined||s<0?"–":s<90?Math.round(s)+" s":s<5400?Math.round(s/60)+" min":
 (s/3600).toFixed(1)+" h";
const state=s=>(s||"").replace("JOB_STATE_","").toLowerCase();
function drawJobs(jobs){const body=$("jobs");body.replaceChildren();
 for(const j of jobs){const r=body.insertRow();r.className="job"+(j.id==chosen?" chosen":"");
  r.onclick=()=>{chosen=j.id;refresh()};
  cell(r,j.id,"n");cell(r,j.name);cell(r,state(j.state));
  const bar=document.createElement("div"),fill=document.createElement("i");bar.className="bar";
  fill.style.width=100*(j.step||0)/(j.stepCount||1)+"%";bar.append(fill);r.insertCell().append(bar);
  cell(r,(j.step||0)+" / "+(j.stepCount||0),"n");cell(r,number(j.trainingLoss,4),"n");
  const e=j.lastEvaluation;cell(r,e&&!(e.accuracy<0)?number(e.accuracy||0,4):"–","n");
  cell(r,number(j.samplesPerSecond||0,0),"n");cell(r,j.activeHostCount||0,"n");
  cell(r,state(j.state)=="running"?time(j.etaSeconds||0):"–","n")}}
function drawHosts(hosts){const body=$("hosts");body.replaceChildren();
 for(const h of hosts.filter(h=>!h.detached)){const r=body.insertRow();
  cell(r,h.id,"n");cell(r,h.name+(h.trusted?" (trusted)":""));
  cell(r,h.device+(h.deviceModel?", "+h.deviceModel:""));
  cell(r,time(Math.max(0,(Date.now()-Number(h.lastSeenMs))/1000))+" ago");
  cell(r,h.leaseCount||0,"n");cell(r,h.validCount||0,"n");cell(r,h.lostCount||0,"n");
  cell(r,number(h.credit||0,1),"n")}}
function drawPlot(m){const svg=$("plot");svg.replaceChildren();
 const steps=(m.steps||[]).map(s=>[Number(s.step||0),Number(s.loss)]).filter(p=>isFinite(p[1]));
 const tests=(m.evaluations||[]).map(s=>[Number(s.step||0),Number(s.loss)])
  .filter(p=>isFinite(p[1]));
 const all=steps.concat(tests);if(!all.length)return;
 const maxX=Math.max(1,...all.map(p=>p[0])),maxY=Math.max(...all.map(p=>p[1]))*1.05||1;
 const line=(points,color,width)=>{const l=document.createElementNS(svg.namespaceURI,"polyline");
  l.setAttribute("points",points.map(p=>(10+780*p[0]/maxX)+","+(230-220*p[1]/maxY)).join(" "));
  l.setAttribute("fill","none");l.setAttribute("stroke",color);
  l.setAttribute("stroke-width",width);l.setAttribute("vector-effect","non-scaling-stroke");
  svg.append(l)};
 line(steps,"#7fa8d1",1);line(tests,"#c2410c",2);
 $("legend").textContent="blue: training loss by step, orange: loss on the evaluation split; "+
  "0 to "+maxY.toFixed(3)+", steps 0 to "+maxX}
async function refresh(){clearTimeout(timer);
 try{const s=await call("ServerService/GetStatus");
  $("server").firstChild.textContent="server "+s.serverId+", version "+s.version+", "+
   count(s.activeHostCount,"host")+" active, "+count(s.runningJobCount,"job")+" running";
  $("note").textContent=s.degraded?"degraded: "+s.degraded:"";
  if(!sessionStorage.getItem("token")){$("login").hidden=false;return}
  const jobs=(await call("JobService/ListJobs")).jobs||[];
  if(!chosen&&jobs.length)chosen=jobs[jobs.length-1].id;
  drawJobs(jobs);drawHosts((await call("HostService/ListHosts")).hosts||[]);
  const j=jobs.find(j=>j.id==chosen);$("detail").hidden=!j;
  if(j){$("title").textContent=j.name;$("reason").textContent=j.stateReason||j.waitingReason||"";
   drawPlot(await call("JobService/GetJobMetrics",{id:j.id,pointCountMax:800}))}
  $("main").hidden=false;$("login").hidden=true}
 catch(e){$("note").textContent=e.message;
  if(e.code=="unauthenticated"||e.code=="permission_denied"){sessionStorage.removeItem("token");
   $("login").hidden=false;$("main").hidden=true;return}}
 timer=setTimeout(refresh,2000)}
$("invite").onclick=async()=>{
 try{const i=await call("AccountService/CreateInvitation",{useCountMax:20,lifetimeSeconds:604800});
  $("line").textContent=i.joinLine;
  $("uses").textContent="This line joins up to 20 computers until "+
   new Date(Number(i.expiresMs)).toLocaleString()+"; then it opens nothing."}
 catch(e){$("line").textContent="";$("uses").textContent=e.message}};
$("login").onsubmit=e=>{e.preventDefault();
 sessionStorage.setItem("token",$("token").value.trim());$("token").value="";refresh()};
refresh();
</script></body></html>
)html";

}  // namespace

std::string_view status_page() { return kPage; }

std::string_view status_page_policy() {
  return "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
         "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
         "frame-ancestors 'none'";
}

}  // namespace mh::server
